"""Chooses the runner for an operation that Alembic invokes."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation, PgoptError, StatementFailed
from pgopt.plan.events import WaitingForRunner
from pgopt.plan.journal import Journal, chain_of, current_revision
from pgopt.plan.online import OnlineRunner
from pgopt.plan.progress import reporter
from pgopt.plan.script import write
from pgopt.plan.settings import Settings
from pgopt.plan.surroundings import prepare
from pgopt.server import locks
from pgopt.server.catalog import Catalog
from pgopt.server.pooler import refuse_pooler
from pgopt.server.session import Session, server_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from alembic.runtime.migration import MigrationContext

    from pgopt.plan.events import Report
    from pgopt.plan.step import Plan


class Plannable(Protocol):
    """As much of an operation as the runners know."""

    @property
    def settings(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    def make_plan(self, db: Catalog) -> Plan: ...  # noqa: D102
    def subject(self, db: Catalog) -> str: ...  # noqa: D102


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
    with _named(operation.title):
        stamped = prepare(context, settings)
    with session.autocommit(), _named(operation.title):
        refuse_pooler(session, keeps_sessions=settings.session_pooler)
        what = operation.subject(Catalog(session))
        with locks.alone(session, what, patience=settings.runner_timeout, waiting=partial(_tell, report, what)):
            journal = Journal.of(context, revision, tasks=stamped.tasks)
            stamped.installed = journal.installed
            journal.begin(operation.title)
            runner = OnlineRunner(session, settings, journal, report, context.opts.get("pgopt_tracer"))
            runner.run(operation.make_plan(runner.db))


@contextmanager
def _named(title: str) -> Iterator[None]:
    """Begin every error with the operation in which it happened."""
    try:
        yield
    except DBAPIError as error:
        raise StatementFailed(f"{title}: {server_error(error).sentence}") from error
    except PgoptError as error:
        raise type(error)(f"{title}: {error}") from error


def _tell(report: Report, what: str, holder: locks.Blocker | None) -> None:
    report(WaitingForRunner(what, holder))
