"""`pgopt undo REV`: take back a revision that was interrupted before it was stamped."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from alembic.ddl.base import AddColumn
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import to_tuple
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from pgopt.cli.options import Arguments, ConfigFiles, Section, config_of
from pgopt.errors import InvalidOperation, StatementFailed
from pgopt.plan.journal import DONE, DOWN, UNDOING, Done, Journal, Revision, chain_of, handed_over, stamped_revisions
from pgopt.plan.settings import Settings
from pgopt.plan.surroundings import commit_if_shared, is_autocommit
from pgopt.server.session import server_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import Script
    from sqlalchemy.engine import Connection

log = logging.getLogger("alembic.pgopt")


def undo(
    revision: Annotated[str, typer.Argument(help="The revision that was interrupted.", show_default=False)],
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
) -> None:
    """Take back a revision whose upgrade or downgrade was interrupted, so that it never began."""
    done = run(config_of(config, name, x), revision)
    typer.echo(f"revision {done.id} is as it was before its {done.direction}")


def run(config: Config, revision: str) -> Revision:
    """Run the inverse of an interrupted revision through the project's env.py, and tell what was taken back.

    Where env.py goes through several databases, it is taken back in each in which it was interrupted.
    """
    directory = ScriptDirectory.from_config(config)
    script = directory.get_revision(revision)
    if script is None:
        raise InvalidOperation(f"there is no revision {revision!r}: say the one that was interrupted")
    looked = Looked()
    options = {UNDOING: (script.revision, DOWN), "dont_mutate": True}
    with EnvironmentContext(config, directory, fn=partial(_undo, script, looked), **options):
        directory.run_env()
    if looked.undone:
        return looked.undone[0]
    raise looked.refused or InvalidOperation(
        f"env.py ran no migrations, so revision {script.revision} is as it was: see its conditions"
    )


@dataclass
class Looked:
    """What came of the databases that env.py went through, most often one."""

    undone: list[Revision] = field(default_factory=list)
    refused: InvalidOperation | None = None


def _undo(script: Script, looked: Looked, heads: Any, context: MigrationContext) -> list[Any]:  # noqa: ARG001
    """Run the inverse; called by Alembic as what gives the steps, it gives none, so that nothing is stamped."""
    try:
        interrupted = _interrupted(script, context)
    except InvalidOperation as error:
        looked.refused = looked.refused or error
        return []
    inverse = interrupted.opposite
    context.opts[UNDOING] = (inverse.id, inverse.direction)
    journal = Journal.of(context, inverse)
    journal.take_back()
    log.info("Undoing the %s of %s", interrupted.direction, interrupted.id)
    context.opts[DONE] = done = journal.done_by(interrupted)
    committed = done.mixed if done else Settings.of(context.opts.get("pgopt_settings")).mixed_revisions
    with context.begin_transaction(_per_migration=True):
        with _only_what_was_done(context, journal, done, inverse, committed=committed):
            getattr(script.module, inverse.direction)(**handed_over())
        Journal.of(context, inverse).forget(inverse.id, down=inverse.direction == DOWN, begun=done is not None)
        commit_if_shared(context)
    looked.undone.append(interrupted)
    return []


@contextmanager
def _only_what_was_done(
    context: MigrationContext, journal: Journal, done: Done | None, inverse: Revision, *, committed: bool
) -> Iterator[None]:
    """Pass over the plain statements of an inverse: what they would take back was rolled back with the revision.

    Where plain ones were committed with the others, each is tried, and so is one in a block of autocommit; an operation of ours is
    passed over by the runner. Alembic has no hook for this.
    """
    connection = cast("Connection", context.connection)
    execute = context.impl._exec

    def attempt(construct: Any, *args: Any, **kwargs: Any) -> Any:
        said = _said(construct, context)
        alone = is_autocommit(cast("Connection", context.connection))
        if committed or alone:
            journal.turn()
            try:
                with nullcontext() if alone else connection.begin_nested():
                    result = execute(construct, *args, **kwargs)
            except DBAPIError as error:
                _refuse_unless_already_so(error, said, inverse)
                return None
            if done is not None and isinstance(construct, AddColumn):
                done.columns.add((str(construct.table_name), construct.column.name))
            return result
        if _SETS.match(said):
            return execute(construct, *args, **kwargs)
        log.warning("passed over, since it was rolled back: %s", said[:_LONGEST])
        return None

    def refuse(on: Connection, _: Any, statement: str, __: Any, how: Any, *___: Any) -> None:
        ours = how is not None and how.execution_options.get("no_parameters")
        if not ours and not committed and not is_autocommit(on) and not _READS.match(statement):
            raise InvalidOperation(
                f"the {inverse.direction} of revision {inverse.id} sends SQL of its own, which cannot be told from what was rolled back:"
                f" {' '.join(statement.split())[:_LONGEST]}: say it by op.execute(), or take it back by hand"
            )

    context.impl._exec = attempt  # type: ignore[method-assign]
    event.listen(connection.engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(connection.engine, "before_cursor_execute", refuse)
        del context.impl._exec


def _refuse_unless_already_so(error: DBAPIError, said: str, inverse: Revision) -> None:
    """Pass over a statement by which nothing would change; of what else fails it cannot be told whether it is done already."""
    failure = server_error(error)
    if failure.code not in _ALREADY_SO:
        raise StatementFailed(
            f"the {inverse.direction} of revision {inverse.id} failed at {said[:_LONGEST]!r}: {failure.sentence}: mend that, or where"
            " it is done already take the statement out of the revision for this once, and run `pgopt undo` again"
        ) from error
    log.warning("passed over, there is nothing to take back: %s", failure.sentence)


def _said(construct: Any, context: MigrationContext) -> str:
    """Give a statement on one line."""
    text = construct if isinstance(construct, str) else str(construct.compile(dialect=context.dialect))
    return " ".join(text.split())


_LONGEST = 200
"""Characters of a statement in a line."""
_SETS = re.compile(r"\s*(set|reset)\b", re.IGNORECASE)
"""What changes nothing but the session, of which the operations after it may know."""
_READS = re.compile(rf"{_SETS.pattern}|\s*(select|show|savepoint|release|rollback)\b", re.IGNORECASE)
_ALREADY_SO = {
    *("42P01", "42703", "42704", "42883", "3F000"),  # no such table, column, object, function, schema
    *("42P07", "42701", "42710", "42723", "42P06"),  # and there is one
}


def _interrupted(script: Script, context: MigrationContext) -> Revision:
    """Tell in which direction a revision was interrupted, or refuse one that was not."""
    journal = Journal.of(context, None)
    known = [revision for revision, _ in journal.half_done() if revision.id == script.revision]
    if known:
        return known[0]
    stamped = stamped_revisions(context)
    if script.revision in stamped:
        raise InvalidOperation(
            f"revision {script.revision} is stamped, so it was not interrupted: take it back with"
            f" `alembic downgrade {script.revision}-1`"
        )
    if journal.installed:
        raise InvalidOperation(f"there is nothing to undo: no interrupted run of revision {script.revision} is known")
    before = to_tuple(script.down_revision, default=())
    if not stamped.issuperset(before):
        raise InvalidOperation(
            f"there is nothing to undo: revision {script.revision} cannot have begun before {before[0]} is stamped"
        )
    return Revision(chain_of(context), script.revision, "upgrade")
