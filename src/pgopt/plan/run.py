"""Chooses the runner for an operation that Alembic invokes."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation, PgoptError, RunnerBusy, StatementFailed
from pgopt.plan import rights
from pgopt.plan.events import Note, WaitingForRunner
from pgopt.plan.journal import (
    DONE,
    OTHERS_WENT_ON,
    UP,
    Begun,
    Journal,
    chain_of,
    current_revision,
    known_heads,
    stamped_revisions,
)
from pgopt.plan.online import OnlineRunner, long_limits
from pgopt.plan.progress import reporter
from pgopt.plan.script import write
from pgopt.plan.settings import Settings
from pgopt.plan.surroundings import prepare
from pgopt.server import runners
from pgopt.server.catalog import Catalog
from pgopt.server.pooler import refuse_pooler
from pgopt.server.quoting import joined, sql, verbatim
from pgopt.server.session import INSUFFICIENT_PRIVILEGE, Session, server_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from alembic.runtime.migration import MigrationContext
    from psycopg.sql import Composable

    from pgopt.plan.journal import ColumnNamed, Done, Revision
    from pgopt.plan.step import Plan
    from pgopt.plan.surroundings import Stamped
    from pgopt.server.objects import TableNamed


_OWN_ROLE = {"role": "none"}


class Plannable(Protocol):
    """As much of an operation as the runners know."""

    @property
    def settings(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    def make_plan(self, db: Catalog) -> Plan: ...  # noqa: D102
    def undoes(self, title: str, made: Collection[ColumnNamed]) -> bool: ...  # noqa: D102
    @property
    def makes(self) -> Sequence[ColumnNamed]: ...  # noqa: D102
    def subject(self, db: Catalog) -> str | TableNamed: ...  # noqa: D102


def carry_out(context: MigrationContext, operation: Plannable) -> None:
    """Carry an operation out, write it as a script, or show it, as the context wants."""
    if context.dialect.name != "postgresql":
        raise InvalidOperation(f"{operation.title}: pgopt works on PostgreSQL, and this is {context.dialect.name}")
    settings = Settings.of(context.opts.get("pgopt_settings"), operation.settings)
    if (preview := context.opts.get("pgopt_preview")) is not None:
        preview.show(operation, chain_of(context))
    elif context.as_sql:
        write(context, operation, settings)
    else:
        _online(context, operation, settings)


def _online(context: MigrationContext, operation: Plannable, settings: Settings) -> None:
    revision = current_revision(context)
    session = Session(context.connection)  # type: ignore[arg-type]
    report = context.opts.get("pgopt_report") or reporter()
    done: Done | None = context.opts.get(DONE)
    passed_over = Note(f"passed over, since there is nothing of it to take back: {operation.title}")
    was_filled = False
    if done is not None and not done.includes(operation):
        with _named(operation.title):
            was_filled = _was_filled(operation, done, Catalog(session))
        if not was_filled:
            report(passed_over)
            return
    with _named(operation.title):
        stamped = prepare(context, settings)
    with session.autocommit(), _named(operation.title, session):
        refuse_pooler(session, keeps_sessions=settings.session_pooler)
        subject = operation.subject(Catalog(session))
        with runners.alone(
            session,
            subject,
            long_limits(session, settings),
            patience=settings.runner_timeout,
            waiting=lambda what, holder: report(WaitingForRunner(what, holder)),
            along=rights.journal(),
        ) as claim:
            if done is not None and not was_filled and not done.includes(operation, claim.what):
                report(passed_over)
                return
            journal = Journal.of(context, revision, tasks=stamped.tasks, there=claim.told)
            stamped.installed = journal.installed
            runner = OnlineRunner(session, settings, journal, report, context.opts.get("pgopt_tracer"))
            begun, heads = _look_again(runner.db, subject, journal, stamped)
            if revision is not None:
                if (known := known_heads(context)) is not None and heads is not None and set(heads) != known:
                    # Alembic's own role may read the version table
                    with session.settings(_OWN_ROLE):
                        _refuse_what_is_over(context, revision)
                journal.check(begun)
                journal.settle(begun)
                if stamped.begun and not journal.is_ours_still(begun):
                    raise RunnerBusy(OTHERS_WENT_ON.format(revision.id))
            plan = operation.make_plan(runner.db)
            # what is refused has not begun: nothing of it is to be taken back
            begins = Begun(operation.title, claim.what)
            is_new = journal.begin(begins, mixed=stamped.mixed)
            try:
                runner.run(plan)
            except (DBAPIError, PgoptError):
                if is_new and not runner.changed and session.alive:
                    with suppress(DBAPIError):
                        journal.never_mind(begins)
                raise
            stamped.begun = journal.installed and revision is not None
            if done is not None:
                done.columns.update(operation.makes)


def _was_filled(operation: Plannable, done: Done, db: Catalog) -> bool:
    """Whether the same columns were set by what is taken back; where some rows were, no statement sets those alone back."""
    if not done.batches:
        return False
    try:
        steps = operation.make_plan(db).steps
    except PgoptError:
        return False
    ends = [ended for task, ended in done.batches.items() for step in steps if task.startswith(f"{step.label} (")]
    if not all(ends):
        raise InvalidOperation(
            "some of these rows were set before the interruption, and this would set them all back: finish the revision, and"
            " then take it back"
        )
    return bool(ends)


def _look_again(db: Catalog, subject: str | TableNamed, journal: Journal, stamped: Stamped) -> Sequence[Any]:
    """Ask for what the plan will ask, now that nobody else is at work, and give which revisions were begun, and the heads."""
    try:
        return _ask(db, subject, journal, stamped.versions)
    except DBAPIError as error:
        # a migration may work as a role that may not read the version table, which Alembic's own may
        if stamped.versions is None or server_error(error).code != INSUFFICIENT_PRIVILEGE:
            raise
        begun, _ = _ask(db, subject, journal, None)
        with suppress(DBAPIError), db.session.settings(_OWN_ROLE):
            return [begun, db.session.value(_heads(stamped.versions))]
        stamped.versions = None
        return [begun, None]


def _ask(db: Catalog, subject: str | TableNamed, journal: Journal, versions: str | None) -> Sequence[Any]:
    along = joined([journal.begun, sql("({})", _heads(versions)) if versions else sql("null")])
    if isinstance(subject, str):
        return cast("Sequence[Any]", db.session.row(sql("select {}", along)))
    return db.ahead(subject, along)


def _heads(versions: str) -> Composable:
    return sql("select coalesce(array_agg(version_num::text), array[]::text[]) from {}", verbatim(versions))


def _refuse_what_is_over(context: MigrationContext, revision: Revision) -> None:
    """Refuse a revision that was to be run when this run began, and that another runner has stamped since."""
    if (revision.id in stamped_revisions(context)) == (revision.direction == UP):
        raise RunnerBusy(
            f"another run has carried out the {revision.direction} of revision {revision.id} meanwhile: run again to go on from there"
        )


@contextmanager
def _named(title: str, session: Session | None = None) -> Iterator[None]:
    """Begin every error with the operation in which it happened, and end it with what to grant; for that, out of a transaction."""
    try:
        yield
    except DBAPIError as error:
        way_out = rights.way_out(session, error) if session else None
        sentence = "; ".join(filter(None, (server_error(error).sentence, way_out)))
        raise StatementFailed(f"{title}: {sentence}") from error
    except PgoptError as error:
        raise type(error)(f"{title}: {error}") from error
