"""Which statements of its own a revision sends when it is looked at, or taken back; Alembic has no hook for this."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Self, cast

from alembic.ddl.base import AddColumn
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation, StatementFailed
from pgopt.plan.surroundings import is_autocommit
from pgopt.plan.undoing import LOOKING, Course, is_data
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, render, sql
from pgopt.server.session import OURS, READ_ONLY, Session, server_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from pgopt.plan.revisions import Revision
    from pgopt.plan.undoing import Done

log = logging.getLogger("alembic.pgopt")


class Statements(ABC):
    """The statements of one direction of a revision that are not of our operations, for a block in which it runs.

    What only sets the session is sent, since the operations after it may need that.
    """

    def __init__(self, context: MigrationContext, revision: Revision, *, committed: bool) -> None:
        self.context = context
        self.revision = revision
        self.committed = committed
        """Whether plain work of the revision was committed with the operations."""
        self.connection = cast("Connection", context.connection)
        self.execute = context.impl._exec
        self.may_set = True
        self.reads_only = not committed
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

    def own(self, statement: str) -> None:
        """Refuse SQL that goes past Alembic's operations, where it may take back what never lasted."""
        if not self.committed or is_data(statement):
            raise self._refusal(statement)

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
        elif self.reads_only:
            # what looks like reading may call a function that writes
            self._send("savepoint pgopt_reads", "set transaction read only")

    def _after(self, on: Connection, _: Any, statement: str, __: Any, how: Any, *___: Any) -> None:
        reads = _READS.match(statement) and self.reads_only
        if reads and not self._is_ours(how) and not is_autocommit(on):
            self._send("release savepoint pgopt_reads")

    def _is_ours(self, how: Any) -> bool:
        return how is not None and bool(how.execution_options.get(OURS))

    def _send(self, *statements: str) -> None:
        cursor = self.connection.connection.cursor()
        for each in statements:
            cursor.execute(each)
        cursor.close()

    def _refusal(self, statement: str) -> InvalidOperation:
        return InvalidOperation(
            f"the {self.revision.direction} of revision {self.revision.id} sends SQL past Alembic's operations, and it is not known"
            f" whether what it undoes was rolled back: {_in_short(statement)}: send it by op.execute(), or take the revision back"
            " by hand"
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
    context.opts[LOOKING] = found
    connection = cast("Connection", context.connection)
    try:
        with (
            context.begin_transaction(_per_migration=True),
            _nothing_lasts(connection),
            suppress(_Unseen, *([Exception] if forth else [DBAPIError])),
            Looking(context, revision, committed=committed or forth, found=found, forth=forth),
        ):
            run()
            found.whole = True
    finally:
        del context.opts[LOOKING]
    return found


@contextmanager
def _nothing_lasts(connection: Connection) -> Iterator[None]:
    if is_autocommit(connection):
        with Session(connection).settings({"default_transaction_read_only": "on"}):
            yield
        return
    with connection.begin_nested() as savepoint:
        yield
        savepoint.rollback()


class Looking(Statements):
    """Nothing that changes anything is sent: what sets the session is, and what reads, which may not write.

    A block of autocommit commits nothing.
    """

    def __init__(
        self, context: MigrationContext, revision: Revision, *, committed: bool, found: Course, forth: bool
    ) -> None:
        super().__init__(context, revision, committed=committed)
        self.found = found
        self.forth = forth
        self.alone = is_autocommit(self.connection)
        # which nothing would set back
        self.may_set = not self.alone
        self.reads_only = True

    def __enter__(self) -> Self:
        self.context.autocommit_block = self._block  # type: ignore[method-assign]
        self.options = self.connection._execution_options
        return super().__enter__()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        del self.context.autocommit_block
        # what a migration has set for its own statements
        self.connection._execution_options = self.options
        super().__exit__(kind, error, trace)

    @contextmanager
    def _block(self) -> Iterator[None]:
        before, self.alone = self.alone, True
        yield
        self.alone = before

    def plain(self, construct: Any, said: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Note it, and refuse what would be sent though it may take back what was never done."""
        if not self.forth and (self.committed or self.alone) and is_data(said):
            raise InvalidOperation(
                f"the {self.revision.direction} of revision {self.revision.id} changes rows, and it is not known whether the"
                f" change that it undoes was made: {_in_short(said)}: finish the revision, then take it back; or undo that change"
                " by hand if it was made, leave the statement out of the revision for this once, and run `pgopt undo` again"
            )
        self.found.note(said)

    def own(self, statement: str) -> None:
        """Refuse what would be refused, or look no further: what comes then may depend on it."""
        super().own(statement)
        raise _Unseen


class _Unseen(Exception):
    """What comes now depends on what would have been done before."""


class Undoing(Statements):
    """What would be taken back was rolled back with the revision, so it is passed over.

    Where plain work was committed with the operations, each statement is tried, and so is one in a block of autocommit.
    """

    def __init__(
        self, context: MigrationContext, revision: Revision, *, committed: bool, done: Done | None = None
    ) -> None:
        super().__init__(context, revision, committed=committed)
        self.done = done

    def plain(self, construct: Any, said: str, *args: Any, **kwargs: Any) -> Any:
        """Try it, or pass over it aloud."""
        alone = is_autocommit(self.connection)
        if not self.committed and not alone:
            log.warning("passed over, since it was rolled back: %s", _in_short(said))
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
                f"the {self.revision.direction} of revision {self.revision.id} failed at {_in_short(said)!r}: {failure.sentence}: mend that,"
                " or leave the statement out of the revision for this once if it is done already, and run `pgopt undo` again"
            ) from error
        log.warning("passed over, there is nothing to take back: %s", failure.sentence)


def _said(construct: Any, context: MigrationContext) -> str:
    return construct if isinstance(construct, str) else str(construct.compile(dialect=context.dialect))


def _in_short(said: str) -> str:
    """Give a statement on one line."""
    return " ".join(said.split())[:_LONGEST]


_LONGEST = 200
"""Characters of a statement in a line."""
_SETS = re.compile(r"\s*(set|reset)\b[^;]*;?\s*$", re.IGNORECASE)
"""What changes nothing but the session."""
_NESTS = re.compile(r"\s*(savepoint|release|rollback)\b", re.IGNORECASE)
_READS = re.compile(
    r"(\s|\(|--[^\n]*\n|/\*.*?\*/)*(select|show|with|values|table|explain)\b", re.IGNORECASE | re.DOTALL
)
_ALREADY_SO = {
    *("42P01", "42703", "42704", "42883", "3F000"),  # no such table, column, object, function, schema
    *("42P07", "42701", "42710", "42723", "42P06"),  # and there is one
}
