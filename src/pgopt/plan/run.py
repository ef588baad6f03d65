"""Chooses the runner for an operation that Alembic invokes."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation, PgoptError, RunnerBusy, StatementFailed
from pgopt.plan import rights
from pgopt.plan.events import Note, WaitingForRunner
from pgopt.plan.journal import OTHERS_WENT_ON, Journal
from pgopt.plan.online import OnlineRunner, long_limits
from pgopt.plan.progress import reporter
from pgopt.plan.revisions import UP, chain_of, current_revision, known_heads, stamped_revisions
from pgopt.plan.script import write
from pgopt.plan.settings import Settings
from pgopt.plan.surroundings import prepare
from pgopt.plan.undoing import DONE, LOOKING, UNDOING, Begun, Filling, Place, Undoable, schema_of
from pgopt.server import runners
from pgopt.server.catalog import Catalog
from pgopt.server.pooler import refuse_pooler
from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim
from pgopt.server.session import INSUFFICIENT_PRIVILEGE, Session, server_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from alembic.runtime.migration import MigrationContext
    from psycopg.sql import Composable

    from pgopt.plan.events import Report
    from pgopt.plan.journal import Known, Run
    from pgopt.plan.revisions import Revision
    from pgopt.plan.step import Plan
    from pgopt.plan.surroundings import Stamped
    from pgopt.plan.undoing import Done
    from pgopt.server.objects import TableNamed


_OWN_ROLE = {"role": "none"}


class Plannable(Undoable, Protocol):
    """As much of an operation as the runners know."""

    @property
    def settings(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def is_told_by_name(self) -> bool: ...  # noqa: D102
    @property
    def brings_journal(self) -> bool: ...  # noqa: D102
    def make_plan(self, db: Catalog) -> Plan: ...  # noqa: D102
    def subject(self, db: Catalog) -> str | TableNamed: ...  # noqa: D102


def carry_out(context: MigrationContext, operation: Plannable) -> None:
    """Carry an operation out, write it as a script, or show it, as the context wants."""
    if (looked := context.opts.get(LOOKING)) is not None:
        session = Session(context.connection)  # type: ignore[arg-type]
        looked.look_at(operation, _about(operation, session), Catalog(session))
        return
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
    done_before = Note(f"passed over, since it was done before the interruption: {operation.title}")
    so_far: Plan | None = None
    number: int | None = None
    with _named(operation.title):
        stamped = prepare(context, settings)
        if done is not None and not done.includes(operation):
            number = stamped.number(operation.kin, about := _about(operation, session))
            so_far = done.so_far(Filling.of(operation, Place(operation.text, about, number), Catalog(session)))
            if so_far is None:
                report(passed_over)
                return
        _note_mixed(context, revision, operation, stamped)
    with session.autocommit(), _named(operation.title, session), ExitStack() as stack:
        refuse_pooler(session, keeps_sessions=settings.session_pooler)
        try:
            subject = operation.subject(Catalog(session))
            claim = stack.enter_context(_alone(session, subject, _patience(context, settings), report))
        except InvalidOperation:
            # what it is about may be gone since it was done
            ours = Journal.of(context, revision).ours()
            if ours is None or not _was_about_what_is_gone(operation, ours, stamped, session):
                raise
            report(done_before)
            return
        begins = Begun.of(operation, claim.what, number or stamped.number(operation.kin, claim.what))
        stack.push(lambda failed, *_: stamped.take_back(begins, operation.kin) if failed else None)
        if done is not None and so_far is None and not done.includes(operation, claim.what):
            report(passed_over)
            return
        journal = Journal.of(context, revision, kin=operation.kin, number=begins.number, there=claim.told)
        stamped.installed = journal.installed
        runner = OnlineRunner(session, settings, journal, report, context.opts.get("pgopt_tracer"))
        runs, heads = _look_again(runner.db, subject, journal, stamped)
        ours = _go_on(context, revision, journal, stamped, runs, heads) if revision is not None else None
        if ours is not None and (
            ours.has_done(operation, begins.place) or (done is not None and done.has_passed(begins, ours.since))
        ):
            report(done_before)
            return
        if operation.is_told_by_name and revision is not None and not journal.installed and not journal.undoing:
            stamped.refuse_again(begins)
        try:
            _run(runner, so_far or operation.make_plan(runner.db), begins, stamped)
        finally:
            if done is not None:
                done.take_note(operation, begins, changed=runner.changed)
        if operation.brings_journal and runner.changed and not journal.installed:
            runner.journal = Journal.of(context, revision, kin=operation.kin, number=begins.number)
            stamped.installed = runner.journal.installed
            _begin(runner.journal, begins, stamped)
        stamped.come_past(begins)


def _was_about_what_is_gone(operation: Plannable, ours: Run, stamped: Stamped, session: Session) -> bool:
    """Whether an operation came to its end in an earlier run, since when what it is about is gone.

    A loop says the same of each tenant: of those that this run has come by, and of those that are there, it is none.
    """
    for each in ours.ended(operation):
        met = each.number <= stamped.met[operation.kin, each.about]
        if not met and _looks_there(operation, each, session) and _is_gone(operation, each, session):
            stamped.number(operation.kin, each.about)
            return True
    return False


def _looks_there(operation: Plannable, begun: Begun, session: Session) -> bool:
    """Whether an operation means the schema of what was begun."""
    there = schema_of(begun.about).removeprefix('"').removesuffix('"').replace('""', '"')
    said = getattr(operation, "schema", None)
    if said is not None:
        return bool(said == there)
    path = str(session.value("select current_setting('search_path')")).split(",")
    return there in [each.strip().removeprefix('"').removesuffix('"').replace('""', '"') for each in path]


def _is_gone(operation: Plannable, begun: Begun, session: Session) -> bool:
    """Whether the table is gone that an operation was about, or the index, where that tells its table."""
    table = getattr(operation, "table", None)
    schema = verbatim(schema_of(begun.about))
    named = (literal(render(sql("{}.{}", schema, ident(name)))) for name in ([table] if table else operation.names))
    return all(session.value(sql("select to_regclass({})", each)) is None for each in named)


def _about(operation: Plannable, session: Session) -> str:
    """Name what an operation is about, if that is there."""
    try:
        return runners.full_name(session, operation.subject(Catalog(session))) or ""
    except PgoptError:
        return ""


def _alone(
    session: Session, subject: str | TableNamed, settings: Settings, report: Report
) -> AbstractContextManager[runners.Claim]:
    """Be the only runner at work on something, and ask for the journal along with that."""
    return runners.alone(
        session,
        subject,
        long_limits(session, settings),
        patience=settings.runner_timeout,
        waiting=lambda what, holder: report(WaitingForRunner(what, holder)),
        along=rights.journal(),
    )


def _patience(context: MigrationContext, settings: Settings) -> Settings:
    """Let an undo not wait for a run that is still at work, and that it could not tell what is taken back."""
    if UNDOING in context.opts and context.opts.get(DONE) is None:
        return replace(settings, runner_timeout=0)
    return settings


def _note_mixed(context: MigrationContext, revision: Revision | None, operation: Plannable, stamped: Stamped) -> None:
    """Have it known, where plain work is about to be committed without its stamp."""
    if stamped.mixed and revision is not None:
        journal = Journal.of(context, revision)
        journal.check()
        journal.note_mixed(operation.title)


def _go_on(
    context: MigrationContext,
    revision: Revision,
    journal: Journal,
    stamped: Stamped,
    runs: Known,
    heads: Sequence[str] | None,
) -> Run | None:
    """Refuse what may not be done now, and tell what is known of the revision."""
    if (known := known_heads(context)) is not None and heads is not None and set(heads) != known:
        # Alembic's own role may read the version table
        with journal.session.settings(_OWN_ROLE):
            _refuse_what_is_over(context, revision)
    ours = journal.ours(runs)
    if stamped.known and (ours is None or ours.last != stamped.last):
        raise RunnerBusy(OTHERS_WENT_ON.format(revision.id))
    journal.check(runs)
    journal.settle(runs)
    if ours is not None:
        stamped.known, stamped.last = True, ours.last
    return ours


def _run(runner: OnlineRunner, plan: Plan, begins: Begun, stamped: Stamped) -> None:
    """Carry a plan out; its operation has begun where there is something to do, and not where that fails before anything is done."""
    before = stamped.known, stamped.last
    new = stamped.mixed and _begin(runner.journal, begins, stamped)

    def begin() -> None:
        nonlocal new
        new = _begin(runner.journal, begins, stamped)

    def never_mind() -> None:
        if new and not runner.changed and runner.session.alive:
            runner.journal.never_mind(begins)
            stamped.known, stamped.last = before

    try:
        runner.run(plan, begin)
    except (DBAPIError, PgoptError):
        with suppress(DBAPIError):
            never_mind()
        raise
    never_mind()


def _begin(journal: Journal, begins: Begun, stamped: Stamped) -> bool:
    new = journal.begin(begins, mixed=stamped.mixed, ended=stamped.ended)
    stamped.ended.clear()
    if journal.installed and journal.revision is not None:
        stamped.known, stamped.last = True, begins
    return new


def _look_again(db: Catalog, subject: str | TableNamed, journal: Journal, stamped: Stamped) -> Sequence[Any]:
    """Ask for what the plan will ask, now that nobody else is at work, and give which revisions were begun, and the heads."""
    try:
        return _ask(db, subject, journal, stamped.versions)
    except DBAPIError as error:
        # a migration may work as a role that may not read the version table, which Alembic's own may
        if stamped.versions is None or server_error(error).code != INSUFFICIENT_PRIVILEGE:
            raise
        runs, _ = _ask(db, subject, journal, None)
        with suppress(DBAPIError), db.session.settings(_OWN_ROLE):
            return [runs, db.session.value(_heads(stamped.versions))]
        stamped.versions = None
        return [runs, None]


def _ask(db: Catalog, subject: str | TableNamed, journal: Journal, versions: str | None) -> Sequence[Any]:
    along = joined([journal.runs, sql("({})", _heads(versions)) if versions else sql("null")])
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
