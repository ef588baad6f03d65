"""Which statements of its own an inverse sends when an interrupted revision is taken back; Alembic has no hook for this."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Self, cast

from alembic.ddl.base import AddColumn
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation, StatementFailed
from pgopt.plan.surroundings import is_autocommit
from pgopt.plan.undoing import LOOKING, Course, Sent
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, render, sql
from pgopt.server.session import READ_ONLY, Session, server_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from pgopt.plan.journal import Revision
    from pgopt.plan.undoing import Done

log = logging.getLogger("alembic.pgopt")


class Statements:
    """The statements of an inverse that are not of our operations, for a block in which it runs.

    What only sets the session is sent, since the operations after it may need that.
    """

    def __init__(self, context: MigrationContext, inverse: Revision, *, committed: bool) -> None:
        self.context = context
        self.inverse = inverse
        self.committed = committed
        """Whether plain work of the revision was committed with the operations."""
        self.connection = cast("Connection", context.connection)
        self.execute = context.impl._exec
        self.may_set = True
        self.listeners = {"before_cursor_execute": self._before, "after_cursor_execute": self._after}

    def __enter__(self) -> Self:
        self.context.impl._exec = self._exec  # type: ignore[method-assign]
        for name, listener in self.listeners.items():
            event.listen(self.connection.engine, name, listener)
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        for name, listener in self.listeners.items():
            event.remove(self.connection.engine, name, listener)
        del self.context.impl._exec
        if isinstance(error, DBAPIError) and server_error(error).code == READ_ONLY:
            raise self._refusal(str(error.statement)) from error

    @abstractmethod
    def plain(self, construct: Any, said: str, *args: Any, **kwargs: Any) -> Any:
        """Do what is to be done with a statement of Alembic's operations."""

    @abstractmethod
    def own(self, statement: str) -> None:
        """Let SQL that goes past Alembic's operations be sent, or refuse it."""

    def _exec(self, construct: Any, *args: Any, **kwargs: Any) -> Any:
        said = _said(construct, self.context)
        if self.may_set and _SETS.match(said):
            return self.execute(construct, *args, **kwargs)
        return self.plain(construct, said, *args, **kwargs)

    def _before(self, on: Connection, _: Any, statement: str, __: Any, how: Any, *___: Any) -> None:
        if self._is_ours(how) or is_autocommit(on) or _SETS.match(statement) or _NESTS.match(statement):
            return
        if not _READS.match(statement):
            self.own(statement)
        elif not self.committed:
            # what looks like reading may call a function that writes
            self._send("savepoint pgopt_reads", "set transaction read only")

    def _after(self, on: Connection, _: Any, statement: str, __: Any, how: Any, *___: Any) -> None:
        reads = _READS.match(statement) and not self.committed
        if reads and not self._is_ours(how) and not is_autocommit(on):
            self._send("release savepoint pgopt_reads")

    def _is_ours(self, how: Any) -> bool:
        return how is not None and bool(how.execution_options.get("no_parameters"))

    def _send(self, *statements: str) -> None:
        cursor = self.connection.connection.cursor()
        for each in statements:
            cursor.execute(each)
        cursor.close()

    def _refusal(self, statement: str) -> InvalidOperation:
        return InvalidOperation(
            f"the {self.inverse.direction} of revision {self.inverse.id} sends SQL of its own, which cannot be told from what was"
            f" rolled back: {' '.join(statement.split())[:_LONGEST]}: say it by op.execute(), or take it back by hand"
        )


def look(
    context: MigrationContext,
    revision: Revision,
    run: Callable[[], None],
    *,
    committed: bool = False,
    forth: bool = False,
) -> Course:
    """See what a revision does in one direction without doing it, as far as that goes; what cannot be undone is refused.

    Of the way forth, which nobody wants to go, anything may be wrong.
    """
    found = Course()
    context.opts[LOOKING] = found.seen
    connection = cast("Connection", context.connection)
    try:
        with (
            context.begin_transaction(_per_migration=True),
            _rolled_back(connection),
            suppress(_Unseen, *([Exception] if forth else [DBAPIError])),
            Looking(context, revision, committed=committed or forth, found=found),
        ):
            run()
            found.whole = True
    finally:
        del context.opts[LOOKING]
    return found


@contextmanager
def _rolled_back(connection: Connection) -> Iterator[None]:
    if is_autocommit(connection):
        yield
        return
    with connection.begin_nested() as savepoint:
        yield
        savepoint.rollback()


class Looking(Statements):
    """Nothing is sent, and a block of autocommit commits nothing."""

    def __init__(self, context: MigrationContext, inverse: Revision, *, committed: bool, found: Course) -> None:
        super().__init__(context, inverse, committed=committed)
        self.found = found
        self.alone = is_autocommit(self.connection)
        # which nothing would set back
        self.may_set = not self.alone

    def __enter__(self) -> Self:
        self.context.autocommit_block = self._block  # type: ignore[method-assign]
        return super().__enter__()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        del self.context.autocommit_block
        super().__exit__(kind, error, trace)

    @contextmanager
    def _block(self) -> Iterator[None]:
        before, self.alone = self.alone, True
        yield
        self.alone = before

    def plain(self, construct: Any, said: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Note it."""
        self.found.seen.append(Sent(said, self.alone))

    def own(self, statement: str) -> None:
        """Refuse what would be refused, or look no further: what comes then may depend on it."""
        raise _Unseen if self.committed else self._refusal(statement)


class _Unseen(Exception):
    """What comes now depends on what would have been done before."""


class Undoing(Statements):
    """What would be taken back was rolled back with the revision, so it is passed over.

    Where plain work was committed with the operations, each statement is tried, and so is one in a block of autocommit.
    """

    def __init__(
        self, context: MigrationContext, inverse: Revision, *, committed: bool, done: Done | None = None
    ) -> None:
        super().__init__(context, inverse, committed=committed)
        self.done = done

    def plain(self, construct: Any, said: str, *args: Any, **kwargs: Any) -> Any:
        """Try it, or pass over it aloud."""
        alone = is_autocommit(self.connection)
        if not self._has_lasted(Sent(said, alone), tried=self.committed or alone):
            log.warning("passed over, since it was rolled back: %s", said[:_LONGEST])
            return None
        try:
            with nullcontext() if alone else self.connection.begin_nested():
                result = self.execute(construct, *args, **kwargs)
        except DBAPIError as error:
            self._refuse_unless_already_so(error, said)
            return None
        if self.done is not None:
            self.done.changed = True
            if isinstance(construct, AddColumn):
                self.done.columns.add((self._full_name(construct), construct.column.name))
        return result

    def _has_lasted(self, sent: Sent, *, tried: bool) -> bool:
        """Whether what it takes back was done, or whether trying does no harm."""
        lasted = self.done.has_lasted() if self.done is not None and sent.is_data else True
        if tried and lasted is None:
            raise InvalidOperation(
                f"the {self.inverse.direction} of revision {self.inverse.id} changes rows, and whether what that takes back was done"
                f" before the interruption cannot be told: {sent.said[:_LONGEST]}: do it by hand if so, take the statement out of the"
                " revision for this once, and run `pgopt undo` again"
            )
        return tried and bool(lasted)

    def own(self, statement: str) -> None:
        """Refuse it where it may take back what never lasted."""
        if not self.committed:
            raise self._refusal(statement)

    def _full_name(self, construct: AddColumn) -> str:
        name = ident(construct.schema and str(construct.schema), str(construct.table_name))
        return str(
            Session(self.connection).value(query("name", relation=sql("to_regclass({})", literal(render(name)))))
        )

    def _refuse_unless_already_so(self, error: DBAPIError, said: str) -> None:
        """Pass over a statement by which nothing would change; of what else fails it cannot be told whether it is done already."""
        failure = server_error(error)
        if failure.code not in _ALREADY_SO:
            raise StatementFailed(
                f"the {self.inverse.direction} of revision {self.inverse.id} failed at {said[:_LONGEST]!r}: {failure.sentence}: mend that,"
                " or where it is done already take the statement out of the revision for this once, and run `pgopt undo` again"
            ) from error
        log.warning("passed over, there is nothing to take back: %s", failure.sentence)


def _said(construct: Any, context: MigrationContext) -> str:
    """Give a statement on one line."""
    text = construct if isinstance(construct, str) else str(construct.compile(dialect=context.dialect))
    return " ".join(text.split())


_LONGEST = 200
"""Characters of a statement in a line."""
_SETS = re.compile(r"\s*(set|reset)\b[^;]*;?\s*$", re.IGNORECASE)
"""What changes nothing but the session."""
_NESTS = re.compile(r"\s*(savepoint|release|rollback)\b", re.IGNORECASE)
_READS = re.compile(r"\s*(select|show)\b", re.IGNORECASE)
_ALREADY_SO = {
    *("42P01", "42703", "42704", "42883", "3F000"),  # no such table, column, object, function, schema
    *("42P07", "42701", "42710", "42723", "42P06"),  # and there is one
}
