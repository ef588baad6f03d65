"""pg_cron as what runs the jobs of `schedule_job`, where no process of one's own shall."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgopt.errors import INSTALL, InvalidOperation, NotInstalled
from pgopt.operations.base import StateOperation, operation
from pgopt.plan.step import Step
from pgopt.server.quoting import sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgopt.server.catalog import Catalog


@operation("use_pg_cron")
class UsePgCron(StateOperation):
    """Let pg_cron run the jobs of `schedule_job`, with the rights of the role that runs this revision. Locks nothing.

    pg_cron calls ``pgopt.dispatch_jobs()`` every minute, which gives it each job that is due as an entry of its own that runs once,
    bare at the top level, and takes what became of it to `pgopt.job_run`. So a job has its own time zone, is retried and
    may also be run by a worker; a time limit is looked at once a minute. A job of ``every="20 seconds"`` has an entry that
    stays, for which pg_cron must be 1.5 or newer: an older one comes once a minute, and such jobs are refused. Needs
    `install_pgopt`, and the extension in this database::

        op.create_extension("pg_cron")
        op.use_pg_cron()
    """

    def reverse(self) -> LeavePgCron:
        return LeavePgCron()

    def plan(self, db: Catalog) -> Iterator[Step]:
        if db.online:
            _check(db)
        yield Step(
            "let pg_cron look for due jobs every minute",
            sql("select cron.schedule('pgopt dispatch', '* * * * *', 'select pgopt.dispatch_jobs()')"),
            done=_is_used,
        )


@operation("leave_pg_cron")
class LeavePgCron(StateOperation):
    """Let pg_cron run no more jobs of `schedule_job`; the jobs stay, for `pgopt worker` or `pgopt run-due`. Locks nothing.

    It refuses while pg_cron is at work on one, since to take its entry away would hide what becomes of it::

        op.leave_pg_cron()
    """

    def reverse(self) -> UsePgCron:
        return UsePgCron()

    def plan(self, db: Catalog) -> Iterator[Step]:
        if db.online and (not db.installed() or not _is_used(db)):
            return
        yield Step(
            "take pgopt's entries out of pg_cron",
            sql("select pgopt.leave_pg_cron()"),
            done=lambda db: not _is_used(db),
        )


def _check(db: Catalog) -> None:
    if db.session.value("select to_regclass('pgopt.job')") is None:
        raise NotInstalled(f"jobs are kept in the pgopt schema: add `{INSTALL}` to an earlier revision")
    # of what is hidden from a role, pg_settings has no rows
    seen = dict(db.session.rows("select name, setting from pg_settings where name like 'cron.%'"))
    if (extension := db.extension("pg_cron")) is None:
        raise InvalidOperation(
            f"pg_cron is not in this database{_why_not(db, seen)}: op.create_extension('pg_cron') first"
        )
    if seen.get("cron.log_run") == "off":
        raise InvalidOperation("cron.log_run is off, so nobody would learn what became of a job: turn it on first")
    if "cron.timezone" not in seen and _has_timezone(extension.version):
        raise InvalidOperation(
            "this role may not see cron.timezone, by which pg_cron reads when a job is due: grant pg_read_all_settings to it first"
        )
    if faults := db.session.rows(_FAULTS):
        raise InvalidOperation("; ".join(fault for (fault,) in faults))


_FAULTS = """select pgopt.fault_of_seconds(name, every) from pgopt.job
where enabled and pgopt.fault_of_seconds(name, every) is not null order by name"""


def _has_timezone(version: str) -> bool:
    """Whether pg_cron has a time zone of its own, as from 1.5 on; GMT before."""
    return tuple(map(int, re.findall(r"\d+", version)[:2])) >= (1, 5)


def _why_not(db: Catalog, seen: Mapping[str, str]) -> str:
    """Say what of the server's settings stands against it, where that is known."""
    if not seen:
        return ", and the server does not load it by shared_preload_libraries, or hides that from this role"
    name = seen.get("cron.database_name")
    return (
        "" if name in (None, db.session.value("select current_database()")) else f", and cron.database_name is {name}"
    )


def _is_used(db: Catalog) -> bool:
    return bool(db.session.value("select pgopt.uses_pg_cron()"))
