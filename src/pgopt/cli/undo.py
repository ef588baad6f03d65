"""`pgopt undo REV`: take back a revision that was interrupted before it was stamped."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import to_tuple

from pgopt.cli.inverses import Undoing, look
from pgopt.cli.options import Arguments, ConfigFiles, Section, config_of
from pgopt.errors import InvalidOperation
from pgopt.plan.journal import Journal
from pgopt.plan.progress import be_heard
from pgopt.plan.revisions import DOWN, UP, Revision, below, chain_of, handed_over, stamped_revisions
from pgopt.plan.settings import Settings
from pgopt.plan.surroundings import commit_if_shared
from pgopt.plan.undoing import DONE, UNDOING
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import Script
    from sqlalchemy.engine import Connection

    from pgopt.plan.undoing import Course, Done

log = logging.getLogger("alembic.pgopt")


def undo(
    revision: Annotated[str, typer.Argument(help="The revision that was interrupted.", show_default=False)],
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
) -> None:
    """Take back a revision whose upgrade or downgrade was interrupted, as if it had never begun."""
    undone = run(config_of(config, name, x), revision)
    for done in undone:
        where = f" in {done.where}" if len(undone) > 1 else ""
        for each in done.left:
            typer.echo(
                f"left as it is{where}, since the {done.revision.opposite.direction} does not take it back: {each}",
                err=True,
            )
        but = ", but for what is left" if done.left else ""
        typer.echo(f"revision {done.revision.id} is as it was{where} before its {done.revision.direction}{but}")


@dataclass(frozen=True)
class Undone:
    """A revision that was taken back."""

    revision: Revision
    """In the direction in which it was interrupted."""
    left: Sequence[str]
    """What its inverse does not take back."""
    where: str
    """The database, and the version table."""


def run(config: Config, revision: str) -> Sequence[Undone]:
    """Run the inverse of an interrupted revision through the project's env.py, and tell what was taken back.

    Where env.py goes through several databases, it is taken back in each in which it was interrupted.
    """
    directory = ScriptDirectory.from_config(config)
    script = directory.get_revision(revision) if revision else None
    if script is None:
        raise InvalidOperation(f"there is no revision {revision!r}: say the one that was interrupted")
    looked = Looked()
    options = {UNDOING: (script.revision, DOWN), "dont_mutate": True}
    with EnvironmentContext(config, directory, fn=partial(_undo, script, looked), **options):
        directory.run_env()
    if not looked.undone:
        raise looked.refused or InvalidOperation(
            f"env.py ran no migrations, so revision {script.revision} is as it was: look at the conditions in env.py"
        )
    return looked.undone


@dataclass
class Looked:
    """What came of the databases that env.py went through, most often one."""

    undone: list[Undone] = field(default_factory=list)
    refused: InvalidOperation | None = None


def _undo(script: Script, looked: Looked, heads: Any, context: MigrationContext) -> list[Any]:  # noqa: ARG001
    """Run the inverse; called by Alembic as what gives the steps, it gives none, so that nothing is stamped."""
    be_heard()
    try:
        interrupted = _interrupted(script, context)
    except InvalidOperation as error:
        looked.refused = looked.refused or error
        return []
    inverse = interrupted.opposite
    context.opts[UNDOING] = (inverse.id, inverse.direction)
    committed = _is_committed(context, interrupted)
    back = look(context, inverse, partial(_run, script, inverse), committed=committed)
    forth = look(context, interrupted, partial(_run, script, interrupted), forth=True)
    journal = Journal.of(context, inverse)
    where = f"{journal.session.value('select current_database()')}, {interrupted.chain}"
    # what is refused leaves no mark
    _look_through(context, journal.done_by(interrupted), forth, back)
    is_new = journal.take_back()
    log.info("Undoing the %s of %s", interrupted.direction, interrupted.id)
    if not journal.installed and (all_of_it := ", ".join(each.title for each in back.operations)):
        log.warning(
            "without op.install_pgopt there is no record of what existed before %s; all of this is carried out: %s",
            interrupted.id,
            all_of_it,
        )
    # a run may have been at work on it until now, and have come to its end
    context.opts[DONE] = done = journal.done_by(interrupted)
    _interrupted(script, context)
    try:
        _look_through(context, done, forth, back)
        with context.begin_transaction(_per_migration=True):
            with Undoing(context, inverse, committed=committed, done=done):
                _run(script, inverse)
            Journal.of(context, inverse).forget(inverse.id, down=inverse.direction == DOWN, known=done is not None)
            commit_if_shared(context)
    except Exception:
        stays = done is None or (done.changed and done.needs_its_order)
        if is_new and not stays and journal.session.alive:
            journal.session.connection.rollback()
            journal.give_up()
        raise
    looked.undone.append(Undone(interrupted, done.left() if done else (), where))
    return []


def _run(script: Script, revision: Revision) -> None:
    function = getattr(script.module, revision.direction, None)
    if function is None:
        raise _has_none(revision)
    try:
        function(**handed_over())
    # what people write into the downgrade of a revision that has no way back
    except NotImplementedError as error:
        raise _has_none(revision, f" ({error})" if str(error) else "") from error


def _has_none(revision: Revision, said: str = "") -> InvalidOperation:
    return InvalidOperation(
        f"revision {revision.id} has no {revision.direction}(){said}: write it, or finish the revision with"
        f" `alembic {revision.opposite.direction}`"
    )


def _is_committed(context: MigrationContext, interrupted: Revision) -> bool:
    """Whether plain work of the revision was committed, as far as that is known."""
    done = Journal.of(context, None).done_by(interrupted)
    return done.mixed if done else Settings.of(context.opts.get("pgopt_settings")).mixed_revisions


def _look_through(context: MigrationContext, done: Done | None, forth: Course, back: Course) -> None:
    """Refuse before anything is changed what would be refused when it is reached."""
    if done is None:
        return
    done.forth, done.back = forth, back
    session = Session(cast("Connection", context.connection))
    with session.autocommit():
        fillings = {each.place: each for each in back.fillings}
        for each, place in back.placed:
            if not done.includes(each):
                done.so_far(fillings.get(place))


def _interrupted(script: Script, context: MigrationContext) -> Revision:
    """Tell in which direction a revision was interrupted, or refuse one that was not."""
    journal = Journal.of(context, None)
    known = [run.revision for run in journal.half_done() if run.revision.id == script.revision]
    if known:
        return known[0]
    stamped = stamped_revisions(context)
    if script.revision in stamped:
        why = "so it was not interrupted: take it back"
        if not journal.installed:
            why = "so its upgrade was not interrupted: take it back, or finish an interrupted downgrade,"
        raise InvalidOperation(
            f"revision {script.revision} is stamped, {why} with `alembic downgrade {below(context, script.revision)}`"
        )
    if journal.installed:
        raise InvalidOperation(f"there is nothing to undo: no interrupted run of revision {script.revision} is known")
    before = to_tuple(script.down_revision, default=())
    if not stamped.issuperset(before):
        raise InvalidOperation(
            f"there is nothing to undo: revision {script.revision} cannot have begun before {before[0]} is stamped"
        )
    return Revision(chain_of(context), script.revision, UP)
