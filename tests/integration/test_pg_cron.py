"""pg_cron runs jobs: the real one of Debian, in a server of its own that has it loaded.

Its minutes are real, so that one test of some minutes looks at all that they bring.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from port_for import get_port

from pgopt import InvalidOperation, NotInstalled, PgoptError
from pgopt.operations import (
    InstallMonitoring,
    InstallPgopt,
    LeavePgCron,
    Operation,
    ScheduleJob,
    UninstallPgopt,
    UnscheduleJob,
    UsePgCron,
)
from pgopt.operations.pg_cron import _has_timezone
from tests.components import DEBIAN, PG_CRON, needs
from tests.contract.failures import MOST, Fuse, fail
from tests.databases import Database, wait_until
from tests.integration.test_jobs_run import LOG, pgopt, run_due
from tests.servers import Server
from tools.server import server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [needs(DEBIAN, PG_CRON), pytest.mark.timeout(900)]

ENTRIES = "select jobname, schedule, command from cron.job order by jobid"
DISPATCH = ("pgopt dispatch", "* * * * *", "select pgopt.dispatch_jobs()")


@contextmanager
def cron_server(*more: str) -> Iterator[Database]:
    """A server that has pg_cron loaded, which connects to it over localhost."""
    port = get_port(None) or 0
    said = ("shared_preload_libraries=pg_cron", "listen_addresses=localhost", f"port={port}", *more)
    with server(DEBIAN, *said) as folder:
        yield Database(Server(str(folder), port, bindir=str(DEBIAN)), "postgres")


@pytest.fixture(scope="module")
def shared() -> Iterator[Database]:
    with cron_server() as found:
        yield found


BEGIN = f"{LOG}; create extension pg_cron"


@pytest.fixture
def fresh() -> Iterator[Database]:
    """A server in which the extension was never dropped: pg_cron may see no jobs of one that comes after that."""
    with cron_server() as found:
        found.run(BEGIN)
        yield found


@pytest.fixture
def cron(shared: Database) -> Iterator[Database]:
    """The database that has pg_cron, as it was before anything."""
    shared.run(BEGIN)
    yield shared
    shared.run("drop table log; drop schema if exists pgopt cascade; drop extension if exists pg_cron cascade")


def test_up_and_down_leave_what_was_there(cron: Database) -> None:
    cron.perform(InstallPgopt(1))
    cron.run(
        "select cron.schedule('mine', '0 0 1 1 *', 'select 1'); select cron.schedule('pgopt of mine', '0 0 1 1 *', 'select 1')"
    )
    before = cron.rows(ENTRIES)
    cron.perform(LeavePgCron())
    cron.perform(UsePgCron(), UsePgCron())
    assert cron.rows(ENTRIES) == [*before, DISPATCH]
    with pytest.raises(InvalidOperation, match=r"pg_cron runs the jobs: op.leave_pg_cron\(\)"):
        cron.perform(UninstallPgopt(1))
    cron.perform(LeavePgCron(), LeavePgCron())
    assert cron.rows(ENTRIES) == before
    cron.psql(cron.script(UsePgCron()))
    assert cron.rows(ENTRIES) == [*before, DISPATCH]
    cron.psql(cron.script(LeavePgCron()))
    assert cron.rows(ENTRIES) == before


BOTH_WAYS = [(UsePgCron(), LeavePgCron()), (LeavePgCron(), UsePgCron())]


@pytest.mark.parametrize(("operation", "inverse"), BOTH_WAYS, ids=["use", "leave"])
def test_interrupted_at_any_statement_it_is_run_again_or_taken_back(
    cron: Database, operation: Operation, inverse: Operation
) -> None:
    cron.perform(InstallPgopt(1), ScheduleJob("job", "select 1", every="1 hour"))
    fuse = Fuse(cron.engine())

    def perform(which: Operation) -> None:
        # what was terminated may still hold the runner's lock for a moment
        cron.perform(which, engine=fuse.engine, settings={"runner_timeout": 60})

    def prepare() -> None:
        perform(inverse)
        if isinstance(operation, LeavePgCron):
            # an entry that pg_cron has not begun, which leaving takes away
            cron.run("update pgopt.job set next_due = clock_timestamp(); select pgopt.dispatch_jobs()")
            assert len(cron.rows(ENTRIES)) == 2

    points = 0
    while fail_at(points + 1, fuse, prepare, lambda: perform(operation)):
        points += 1
        last = operation if points % 2 else inverse
        perform(last)
        if isinstance(last, UsePgCron):
            assert cron.rows(ENTRIES).count(DISPATCH) == 1
        else:
            assert (cron.rows(ENTRIES), cron.rows("select * from pgopt.job_run")) == ([], [])
    assert points > 5


def fail_at(number: int, fuse: Fuse, prepare: Callable[[], object], work: Callable[[], object]) -> bool:
    """Interrupt some work at a statement, by the ways in turn."""
    fuse.set()
    prepare()
    failed = fail(fuse, number, MOST[number % len(MOST)], work)
    fuse.set()
    return failed


def test_what_is_missing_is_said(cron: Database) -> None:
    with pytest.raises(NotInstalled, match="jobs are kept in the pgopt schema"):
        cron.perform(UsePgCron())
    cron.run("drop extension pg_cron")
    cron.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match=r"pg_cron is not in this database: op.create_extension\('pg_cron'\)"):
        cron.perform(UsePgCron())
    cron.run("create database elsewhere")
    try:
        there = Database(cron.server, "elsewhere")
        there.perform(InstallPgopt(1))
        with pytest.raises(InvalidOperation, match=r"not in this database, and cron\.database_name is postgres"):
            there.perform(UsePgCron())
    finally:
        cron.run("drop database elsewhere")


def test_a_time_zone_of_its_own_came_with_a_version() -> None:
    assert [_has_timezone(version) for version in ("1.3", "1.4-1", "1.5", "1.6", "1.10", "2.0")] == [False] * 2 + [
        True
    ] * 4


def test_a_server_without_it_says_so(database: Database) -> None:
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match="the server does not load it by shared_preload_libraries"):
        database.perform(UsePgCron())
    database.perform(LeavePgCron())


def test_dispatching_is_safe_to_repeat_and_beside_other_runners(cron: Database) -> None:
    cron.perform(
        InstallPgopt(1),
        ScheduleJob('J\'ob "1" %s', "vacuum log", every="1 hour"),
        ScheduleJob("late", "select 1", every="1 day"),
    )
    cron.run("update pgopt.job set next_due = clock_timestamp() where name like 'J%'")
    # not by pg_cron's own clock
    for _ in range(2):
        cron.run("select pgopt.dispatch_jobs()")
    assert cron.rows("select jobname, command from cron.job") == [('pgopt 1: J\'ob "1" %s', "vacuum log")]
    assert run_due(cron) == [], "pg_cron has it"
    cron.run("select pgopt.leave_pg_cron()")
    assert cron.rows(ENTRIES) == []
    assert [ran.error for ran in run_due(cron)] == [None]
    assert cron.rows("select attempt, outcome from pgopt.job_run") == [(1, "succeeded")]


@pytest.fixture
def theirs(cron: Database) -> Iterator[Database]:
    """The same for a role that is no superuser, and may not use pg_cron yet."""
    cron.run('create role "Own er" login; grant create on database postgres to "Own er"')
    yield Database(replace(cron.server, user="Own er"), cron.name)
    cron.run('drop owned by "Own er"; drop role "Own er"')


def test_a_role_that_may_not_use_it_runs_its_jobs_elsewhere(theirs: Database) -> None:
    theirs.perform(InstallPgopt(1), ScheduleJob("job", "select 1", every="1 hour"))
    theirs.run("update pgopt.job set next_due = clock_timestamp()")
    assert [ran.error for ran in run_due(theirs)] == [None]
    with pytest.raises(PgoptError, match="use_pg_cron: permission denied for schema cron"):
        theirs.perform(UsePgCron())
    theirs.perform(UnscheduleJob("job"), UninstallPgopt(1))


def test_a_role_that_may_use_it_needs_no_more(cron: Database, theirs: Database) -> None:
    cron.run('grant usage on schema cron to "Own er"')
    theirs.perform(InstallPgopt(1), UsePgCron(), ScheduleJob("job", "select 1", every="1 hour"))
    theirs.run("update pgopt.job set next_due = clock_timestamp(); select pgopt.dispatch_jobs()")
    assert cron.rows("select jobname, username from cron.job order by jobname") == [
        ("pgopt 1: job", "Own er"),
        ("pgopt dispatch", "Own er"),
    ]
    # as pg_cron does when it has been run
    cron.run(
        "insert into cron.job_run_details (jobid, runid, job_pid, username, status, return_message, start_time, end_time)"
        " select jobid, 1000, 1, username, 'succeeded', '1 row', now(), now() from cron.job where jobname ~ ':'"
    )
    theirs.run("select pgopt.dispatch_jobs()")
    assert theirs.rows("select outcome, error from pgopt.job_run") == [("succeeded", None)]
    assert cron.rows("select * from cron.job_run_details") == []
    theirs.perform(LeavePgCron(), UnscheduleJob("job"), UninstallPgopt(1))
    assert cron.rows("select * from cron.job") == []


def test_what_pg_cron_has_not_begun_is_tried_again(cron: Database) -> None:
    cron.perform(InstallPgopt(1), ScheduleJob("job", "select 1", every="1 hour"))
    cron.run("update pgopt.job set next_due = clock_timestamp(); select pgopt.dispatch_jobs()")
    cron.run("update pgopt.job_run set started_at = started_at - interval '7 minutes'; select pgopt.dispatch_jobs()")
    # its ten seconds may reach over the minute that was looked at
    cron.run("update pgopt.job set retry_at = clock_timestamp(); select pgopt.dispatch_jobs()")
    assert cron.rows("select outcome, error from pgopt.job_run order by id") == [
        ("failed", "pg_cron has not run it"),
        (None, None),
    ]
    # nor one that somebody has taken away
    cron.run("select cron.unschedule(jobid) from cron.job; select pgopt.settle_entries()")
    assert cron.rows("select attempt, outcome, error from pgopt.job_run order by id desc limit 1") == [
        (2, "failed", "pg_cron has not run it")
    ]


def test_what_a_runner_is_at_work_on_is_not_given_to_pg_cron(cron: Database) -> None:
    cron.perform(InstallPgopt(1), ScheduleJob("job", "select 1", every="1 hour"))
    cron.run("update pgopt.job set next_due = clock_timestamp()")
    with cron.connect() as at_work:
        assert at_work.execute("select job from pgopt.claim_job('test')").fetchall() == [("job",)]
        cron.run("select pgopt.dispatch_jobs()")
        assert cron.rows(ENTRIES) == []


# -- every few seconds ---------------------------------------------------------------------------------------------------

# what 1.5 does when it is asked for an entry; Debian's launcher leaves a schedule alone that it cannot read
OF_1_5 = """
create or replace function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as $$
    insert into cron.job (jobname, schedule, command, nodeport) values ($1, $2, $3, 5432)
    on conflict on constraint jobname_username_uniq do update set schedule = $2, command = $3 returning jobid
$$;
update pg_extension set extversion = '1.6' where extname = 'pg_cron'
"""
TICK = ScheduleJob("ti'ck %s", "vacuum log", every="20 seconds")
ENTRY = ("pgopt 1: ti'ck %s", "20 seconds", "vacuum log")
TICKS = "select attempt, outcome, error from pgopt.job_run order by id"


def ran(cron: Database, *statuses: str) -> None:
    """Let the entry have been run, as pg_cron writes it down."""
    for status in statuses:
        cron.run(f"""
            insert into cron.job_run_details (jobid, runid, job_pid, username, status, return_message, start_time, end_time)
            select jobid, nextval('cron.runid_seq'), 1, username, '{status}', 'ERROR: boom', now(), now()
            from cron.job where jobname ~ 'ti''ck'""")


@pytest.fixture
def newer(cron: Database) -> Database:
    cron.perform(InstallPgopt(1), UsePgCron())
    # not by pg_cron's own clock
    cron.run(OF_1_5 + "; select cron.alter_job(jobid, active := false) from cron.job")
    cron.perform(TICK)
    cron.run("select pgopt.dispatch_jobs()")
    return cron


def test_an_old_one_that_comes_once_a_minute_is_not_asked_for_seconds(cron: Database) -> None:
    cron.perform(InstallPgopt(1), UsePgCron())
    with pytest.raises(InvalidOperation, match=r"every 00:00:20, but pg_cron 1\.4.* once a minute: use 1\.5 or newer"):
        cron.perform(TICK)
    with pytest.raises(AssertionError, match=r"use 1\.5 or newer, or pgopt worker"):
        cron.psql(cron.script(TICK))
    cron.perform(LeavePgCron(), TICK)
    with pytest.raises(InvalidOperation, match=r"ti'ck .* use 1\.5 or newer, or pgopt worker"):
        cron.perform(UsePgCron())
    cron.run("update pgopt.job set enabled = false")
    cron.perform(UsePgCron())
    with pytest.raises(Exception, match=r"use 1\.5 or newer, or pgopt worker"):
        cron.run("update pgopt.job set enabled = true")


def test_a_job_of_seconds_has_an_entry_that_stays(newer: Database) -> None:
    newer.run("select pgopt.dispatch_jobs()")
    assert newer.rows(ENTRIES) == [DISPATCH, ENTRY]
    newer.run("update pgopt.job set next_due = now() - interval '1 second'")
    assert run_due(newer) == [], "pg_cron has it"
    ran(newer, "succeeded", "failed", "succeeded", "failed", "running")
    newer.run("select pgopt.dispatch_jobs()")
    boom = ("failed", "boom")
    assert newer.rows(TICKS) == [
        (1, "succeeded", None),
        (1, *boom),
        (2, "succeeded", None),
        (1, *boom),
        (2, None, None),
    ]
    assert newer.value("select failures from pgopt.job") == 1
    assert newer.value("select next_due > now() from pgopt.job")
    assert newer.rows("select status from cron.job_run_details") == [("running",)]
    assert newer.rows(ENTRIES) == [DISPATCH, ENTRY]
    assert "failed once: boom" in pgopt("jobs", jobs=newer).stdout


def test_one_that_is_not_wanted_goes_at_once_but_not_while_it_runs(newer: Database) -> None:
    ran(newer, "running")
    with pytest.raises(Exception, match="is being run by pg_cron"):
        newer.perform(LeavePgCron())
    newer.perform(UnscheduleJob("ti'ck %s"))
    assert newer.rows(ENTRIES) == [DISPATCH, (ENTRY[0], "0 0 1 1 *", ENTRY[2])]
    newer.run("update cron.job_run_details set status = 'succeeded'; select pgopt.dispatch_jobs()")
    assert newer.rows(ENTRIES) == [DISPATCH]
    assert newer.rows(TICKS) == [(1, "succeeded", None)]
    assert newer.rows("select * from cron.job_run_details") == []


def test_one_that_is_paused_or_changed_is_given_anew(newer: Database) -> None:
    newer.run("update pgopt.job set enabled = false")
    assert (newer.rows(ENTRIES), newer.rows(TICKS)) == ([DISPATCH], [])
    newer.run("update pgopt.job set enabled = true; select pgopt.dispatch_jobs()")
    newer.run("update pgopt.job set every = '30 seconds', command = 'select 1'")
    assert newer.rows(ENTRIES) == [DISPATCH]
    newer.run("select pgopt.dispatch_jobs()")
    assert newer.rows(ENTRIES)[1][1:] == ("30 seconds", "select 1")
    newer.run("update pgopt.job_run set started_at = started_at - interval '7 minutes'; select pgopt.settle_entries()")
    assert newer.rows(ENTRIES) == [DISPATCH]
    assert newer.rows(TICKS) == [(1, "failed", "pg_cron has not run it")]
    with pytest.raises(InvalidOperation, match="whole seconds"):
        newer.perform(ScheduleJob("half", "select 1", every="1.5 seconds"))
    newer.run("select pgopt.dispatch_jobs()")
    newer.perform(LeavePgCron())
    assert newer.rows("select * from cron.job") == []
    newer.run("update pgopt.job set retry_at = null, next_due = clock_timestamp()")
    assert [each.error for each in run_due(newer)] == [None], "it is nobody's any more"


# -- by its own clock ----------------------------------------------------------------------------------------------------


def test_bloated_indexes_are_rebuilt_by_pg_cron(fresh: Database) -> None:
    fresh.run("create table t (id int) with (autovacuum_enabled = off); insert into t select generate_series(1, 20000)")
    fresh.run(
        'create index "Large %s" on t (id) with (fillfactor = 10); alter index "Large %s" reset (fillfactor); analyze t'
    )
    fresh.perform(
        InstallPgopt(1),
        InstallMonitoring(),
        ScheduleJob("bloat", "select pgopt.reindex_bloated('100 kB')", every="1 hour"),
        UsePgCron(),
    )
    fresh.run("update pgopt.job set next_due = clock_timestamp(); select pgopt.dispatch_jobs()")

    def over(job: str) -> bool:
        # not only once a minute
        fresh.run("select pgopt.dispatch_jobs()")
        return bool(fresh.value(f"select count(*) from pgopt.job_run where job ~ '{job}' and finished_at is not null"))

    wait_until("the job has found one", lambda: over("bloat"), seconds=200)
    wait_until("that has been rebuilt", lambda: over("reindex"), seconds=200)
    fresh.run("update pgopt.job set next_due = clock_timestamp(); select pgopt.reindex_bloated('100 kB')")
    assert fresh.rows("select index_name, outcome, error, bytes_after < bytes_before / 3 from pgopt.reindex") == [
        ("Large %s", "rebuilt", None, True)
    ]
    assert fresh.rows("select job, outcome, runner from pgopt.job_run where finished_at is not null order by id") == [
        ("bloat", "succeeded", "pg_cron"),
        ('reindex public."Large %s"', "succeeded", "pg_cron"),
    ]
    assert fresh.rows("select name from pgopt.job") == [("bloat",)]


def test_jobs_that_are_due_are_run_by_pg_cron(fresh: Database) -> None:
    fresh.run(
        "create procedure in_parts() language plpgsql as $$ begin for n in 1 .. 3 loop insert into public.log (said) values (n);"
        " commit; end loop; end $$"
    )
    fresh.perform(
        InstallPgopt(1),
        ScheduleJob("call", "call public.in_parts()", every="1 hour"),
        ScheduleJob("vacuum", "vacuum public.log", every="1 hour"),
        ScheduleJob("index", "reindex table concurrently public.log", every="1 hour"),
        ScheduleJob("bad", "select 1 / 0", every="1 hour"),
        ScheduleJob("long", "select pg_sleep(1000)", every="1 hour", time_limit="1 second", retries=0),
        UsePgCron(),
    )
    fresh.run("update pgopt.job set next_due = clock_timestamp()")
    wait_until(
        "the long one is at work",
        lambda: fresh.value("select count(*) from cron.job_run_details where command ~ '1000' and status = 'running'"),
        seconds=400,
    )
    with pytest.raises(Exception, match=r"job [a-z]+ is being run by pg_cron: wait until it has ended, or cancel it"):
        fresh.perform(LeavePgCron())
    assert "at work for" in pgopt("jobs", jobs=fresh).stdout
    done = "select count(distinct job) from pgopt.job_run where finished_at is not null"
    wait_until("all have been run", lambda: fresh.value(done) == 5, seconds=400)
    first = "select distinct on (job) job, outcome, error, runner from pgopt.job_run order by job, id"
    assert fresh.rows(first) == [
        ("bad", "failed", "division by zero", "pg_cron"),
        ("call", "succeeded", None, "pg_cron"),
        ("index", "succeeded", None, "pg_cron"),
        ("long", "failed", "canceling statement due to user request", "pg_cron"),
        ("vacuum", "succeeded", None, "pg_cron"),
    ]
    assert fresh.value("select count(*) from log") == 3
    shown = pgopt("jobs", jobs=fresh)
    assert (shown.returncode, "division by zero" in shown.stdout) == (1, True)
