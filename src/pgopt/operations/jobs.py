"""Jobs: commands that are run by the clock, by `pgopt run-due`, by `pgopt worker` or by pg_cron."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.exc import DBAPIError

from pgopt.errors import INSTALL, InvalidOperation, NotInstalled, NotReversible
from pgopt.operations.base import StateOperation, operation, other
from pgopt.plan.step import Step
from pgopt.server.quoting import ident, joined, literal, sql, verbatim
from pgopt.server.session import server_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog

EVERY = "every "
"""How a `when` begins that is no cron expression."""


@dataclass(frozen=True, repr=False)
class JobOperation(StateOperation):
    """A job as a migration says it."""

    name: str
    command: str | None = None
    _: KW_ONLY
    cron: str | None = None
    every: str | None = None
    timezone: str = "UTC"
    catch_up: Literal["once", "all"] = "once"
    start_within: str | None = None
    time_limit: str | None = None
    retries: int = 3

    def check(self) -> None:
        if not self.name.strip() or "\0" in self.name:
            raise InvalidOperation(f"the job {self.name!r} needs a name")
        if self.command is None:
            return
        if not self.command.strip(" \t\n;"):
            raise InvalidOperation(f"job {self.name} has no command: say what is to be run")
        if (self.cron is None) == (self.every is None):
            raise InvalidOperation(f"job {self.name}: say either cron='*/15 * * * *' or every='20 seconds'")
        if self.catch_up not in ("once", "all"):
            raise InvalidOperation(f"catch_up={self.catch_up!r} of job {self.name}: say 'once' or 'all'")
        if self.retries < 0:
            raise InvalidOperation(f"retries={self.retries!r} of job {self.name}: say how often it is tried again")

    def subject(self, db: Catalog) -> str:  # noqa: ARG002
        return f"the job {self.name}"

    def known(self, db: Catalog) -> None:
        """Refuse where there is nowhere to keep a job; a script finds that out when it runs."""
        if db.online and db.session.value("select to_regclass('pgopt.job')") is None:
            raise NotInstalled(f"jobs are kept in the pgopt schema: add `{INSTALL}` to an earlier revision")

    def is_there(self, db: Catalog) -> bool:
        """Whether a job of this name is there."""
        return bool(db.session.value(sql("select exists (select from pgopt.job where name = {})", literal(self.name))))

    def refuse_another(self, db: Catalog) -> None:
        """Refuse a job of this name that is another; whether it is paused is for whoever runs it to say."""
        values = _values(self)
        columns = {name: ident(name) for name in values}
        there = sql("select {} from pgopt.job where name = {}", _as_text(columns), values["name"])
        differs = sql("({}) is distinct from ({})", joined(columns.values()), joined(values.values()))
        if (row := db.session.row(sql("{} and {}", there, differs))) is not None:
            wanted = db.session.row(sql("select {}", _as_text(values)))
            raise InvalidOperation(
                f"there is another job {self.name}, with {_told(row, wanted)}, and not {_told(wanted, row)}: unschedule it first,"
                " or say what it is"
            )


@operation("schedule_job")
class ScheduleJob(JobOperation):
    """Have a command run by the clock, at the top level and in autocommit, so that CALL, VACUUM and REINDEX CONCURRENTLY can be run.

    Locks nothing. `pgopt run-due`, `pgopt worker` or pg_cron runs it, with the rights of whoever runs that, and each job
    only once at a time. Names in the command should have their schema. ``cron`` has five fields and goes by the clock of
    ``timezone``: a time that is there twice when the clock is set back counts once, one that is leapt over counts when the
    clock has leapt. ``every`` is an interval of a second or more. What was missed is made up for by one run, or each by its own with
    ``catch_up="all"``; a run that is later than ``start_within`` is left out. One that fails is tried again ``retries`` times,
    after 10 seconds, 40, and so on. Each of its statements may take as long as it likes, or as ``time_limit`` says. Needs `install_pgopt`::

        op.schedule_job("statistics", "analyze tickets", cron="30 3 * * *", timezone="Europe/Berlin")
        op.schedule_job("board", "refresh materialized view concurrently board", every="5 minutes", time_limit="1 minute")
    """

    command: str = field()

    def reverse(self) -> UnscheduleJob:
        return other(UnscheduleJob, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        self.known(db)
        if db.online:
            self.refuse_another(db) if self.is_there(db) else _refuse_wrong(db, self)
        yield Step(f"schedule job {self.name}", _insert(_values(self)), done=self.is_there)


@operation("unschedule_job")
class UnscheduleJob(JobOperation):
    """Have a job run no more; a run that has begun goes on, and the history stays. Locks nothing.

    With the arguments of `schedule_job` it can be undone, and refuses a job that is another by now::

        op.unschedule_job("statistics")
    """

    def reverse(self) -> ScheduleJob:
        if self.command is None:
            raise NotReversible(f"{self.title}: say its command and when it runs, so that it can be scheduled again")
        return other(ScheduleJob, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        self.known(db)
        if db.online and self.command is not None:
            self.refuse_another(db)
        yield Step(f"unschedule job {self.name}", drop_job_statement(self.name), done=lambda db: not self.is_there(db))


def job_statement(name: str, command: str, when: str, timezone: str = "UTC") -> Composable:
    """Give the statement by which another operation schedules a job of its own.

    ``when`` is a cron expression or an interval: ``"*/15 * * * *"``, ``"every 20 seconds"``. The server refuses a name that is
    there already, and what is no time.
    """
    every = when.removeprefix(EVERY) if when.startswith(EVERY) else None
    cron = None if every else when
    return _insert(_values(ScheduleJob(name, command, cron=cron, every=every, timezone=timezone)))


def drop_job_statement(name: str) -> Composable:
    """Give the statement that takes such a job away."""
    return sql("delete from pgopt.job where name = {}", literal(name))


_TYPES = {
    "name": "text",
    "command": "text",
    "cron": "text",
    "every": "interval",
    "timezone": "text",
    "catch_up": "text",
    "start_within": "interval",
    "time_limit": "interval",
    "retries": "integer",
}
"""What a job's definition is in the database: all but what its runs and its operator say."""


def _values(of: JobOperation) -> dict[str, Composable]:
    return {name: sql("{}::{}", literal(getattr(of, name)), verbatim(kind)) for name, kind in _TYPES.items()}


def _insert(values: dict[str, Composable]) -> Composable:
    return sql("insert into pgopt.job ({}) values ({})", joined(map(ident, values)), joined(values.values()))


def _as_text(values: dict[str, Composable]) -> Composable:
    return joined(sql("({})::text", value) for value in values.values())


def _told(row: Any, other: Any) -> str:
    """Say what is in one definition and not in another."""
    differing = ((name, one) for name, one, two in zip(_TYPES, row, other, strict=True) if one != two)
    return ", ".join(f"no {name}" if value is None else f"{name} {value!r}" for name, value in differing)


def _refuse_wrong(db: Catalog, of: JobOperation) -> None:
    """Let the server read what is said of times: one place knows what a cron expression means."""
    values = _values(of)
    seconds = sql("select pgopt.fault_of_seconds({name}, {every}) where pgopt.uses_pg_cron()", **values)
    due = sql("pgopt.first_due({}, {}, {})", *(values[name] for name in ("cron", "every", "timezone")))
    limits = joined(sql("{} > '0'", values[name]) for name in ("start_within", "time_limit"))
    try:
        with db.session.rolled_back():
            row = db.session.row(sql("select {}, {}::text", limits, due))
            fault = db.session.value(seconds)
    except DBAPIError as error:
        raise InvalidOperation(f"job {of.name}: {server_error(error).sentence}") from error
    if fault is not None:
        raise InvalidOperation(fault)
    if False in row[:2]:
        raise InvalidOperation(f"start_within and time_limit of job {of.name}: say intervals longer than none")
