"""What runs jobs: each one once at a time, whoever else is at it, and whatever becomes of the runner."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError

from pgopt import NotInstalled
from pgopt.cli.worker import runner_on
from pgopt.jobs.runner import LOST, Ran, Runner
from pgopt.jobs.worker import Worker
from pgopt.operations import InstallPgopt, ScheduleJob
from tests.databases import Database, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

LOG = (
    "create table log (id bigint generated always as identity primary key, said text, pid int default pg_backend_pid())"
)
ROUNDS = 10
GONE = "its runner was gone before it ended"


@pytest.fixture
def jobs(database: Database) -> Database:
    database.run(LOG)
    database.perform(InstallPgopt(1))
    return database


def schedule(jobs: Database, name: str, command: str, **more: Any) -> None:
    """Have a job that is due now."""
    jobs.perform(ScheduleJob(name, command, **({"every": "1 hour"} | more)))
    make_due(jobs, name)


def make_due(jobs: Database, name: str, ago: str = "0") -> None:
    with jobs.connect() as connection:
        connection.execute(
            "update pgopt.job set next_due = clock_timestamp() - %s::interval, retry_at = null where name = %s",
            (ago, name),
        )


def say(word: str) -> str:
    return f"insert into log (said) values ('{word}')"


@contextmanager
def runner(jobs: Database, driver: str = "psycopg") -> Iterator[Runner]:
    with jobs.engine(driver, isolation_level="AUTOCOMMIT").connect() as connection:
        yield Runner(connection)


def run_due(jobs: Database) -> list[Ran]:
    with runner(jobs) as found:
        return list(found.round())


def runs(jobs: Database, job: str) -> list[tuple[Any, ...]]:
    return jobs.rows(f"select attempt, outcome, error from pgopt.job_run where job = '{job}' order by id")


def pgopt(*arguments: str, jobs: Database) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pgopt.cli.main", *arguments, "--url", jobs.server.url(jobs.name)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_due_is_run_and_written_down(jobs: Database) -> None:
    schedule(jobs, "one", say("one"))
    jobs.perform(ScheduleJob("later", say("later"), every="1 hour"))
    assert [(ran.job, ran.error) for ran in run_due(jobs)] == [("one", None)]
    assert run_due(jobs) == []
    assert jobs.rows("select said from log") == [("one",)]
    assert runs(jobs, "one") == [(1, "succeeded", None)]
    assert jobs.value("select next_due > now() and last_started is not null from pgopt.job where name = 'one'") is True
    assert jobs.value("select count(*) from pg_locks where locktype = 'advisory'") == 0


COMMANDS = [
    "call in_parts()",
    "do $$ begin insert into log (said) values ('do'); commit; end $$",
    "vacuum (analyze) log",
    "reindex table concurrently log",
    "create index concurrently on_said on log (said)",
    "create table a (); create table b ()",
    "-- a comment\ninsert into log (said) values (':n %s %(a)s {} $1');",
    "begin; insert into log (said) values ('a'); commit",
    "select * from generate_series(1, 1000)",
]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_command_runs_at_the_top_level(jobs: Database, driver: str) -> None:
    jobs.run(
        "create procedure in_parts() language plpgsql as $$ begin for n in 1 .. 3 loop insert into log (said) values (n); commit;"
        " end loop; end $$"
    )
    for number, command in enumerate(COMMANDS):
        schedule(jobs, f"job {number}", command)
    with runner(jobs, driver) as found:
        assert [ran.error for ran in found.round()] == [None] * len(COMMANDS)
    assert jobs.value("select count(distinct job) from pgopt.job_run where outcome = 'succeeded'") == len(COMMANDS)


def test_the_same_command_may_run_often_on_one_connection(jobs: Database) -> None:
    schedule(jobs, "job", "insert into log (said) values ('a'); insert into log (said) values ('b')")
    with runner(jobs) as found:
        for _ in range(8):
            make_due(jobs, "job")
            ran = found.next()
            assert ran is not None
            assert ran.error is None
    assert jobs.value("select count(*) from log") == 16


OPEN = "the command has left a transaction open, which was rolled back"
RUDE = [
    ("begin; insert into log (said) values ('open')", OPEN),
    ("set role pg_read_all_data", None),
    ("set session authorization pg_read_all_data", None),
    ("set search_path = nowhere", None),
    ("set statement_timeout = 1", None),
    ("set default_transaction_read_only = on", None),
    ("create temp table job (a int)", None),
    ("prepare p as select 1", None),
    ("begin; select 1 / 0", "division by zero"),
    ("savepoint s", "SAVEPOINT can only be used in transaction blocks"),
]


def test_what_a_command_does_to_the_session_is_gone_after_it(jobs: Database) -> None:
    for number, (command, _) in enumerate(RUDE):
        schedule(jobs, f"job {number}", command, retries=0)
    with runner(jobs) as found:
        before = found.session.rows("select name, setting from pg_settings where source = 'session'")
        for number in range(len(RUDE)):
            ran = found.next()
            assert ran is not None
            assert (ran.job, ran.error) == (f"job {number}", RUDE[number][1])
            assert found.session.rows("select name, setting from pg_settings where source = 'session'") == before
            assert found.session.value("select current_user = session_user and session_user = 'postgres'") is True
            assert found.session.value("select to_regclass('pg_temp.job') is null") is True
    assert jobs.value("select count(*) from pgopt.job_run where outcome = 'succeeded'") == len(RUDE) - 3
    assert jobs.value("select count(*) from log") == 0


@pytest.mark.parametrize("command", ["copy log to stdout", "copy log from stdin"])
def test_a_command_after_which_nothing_can_be_sent_ends_its_connection_alone(jobs: Database, command: str) -> None:
    schedule(jobs, "copies", command, retries=0)
    schedule(jobs, "other", say("here"))
    make_due(jobs, "copies", "1 minute")
    stopped = threading.Event()

    def tell(_: str) -> None:
        if jobs.value("select count(*) from log"):
            stopped.set()
            worker.stop()

    worker = Worker(partial(runner_on, make_url(jobs.server.url(jobs.name))), tell)
    worker.run()
    assert stopped.is_set(), "the worker has ended unasked"
    assert runs(jobs, "other") == [(1, "succeeded", None)]


WAIT = """
    select round(extract(epoch from j.retry_at - r.finished_at))::int from pgopt.job j
    join pgopt.job_run r on r.job = j.name order by r.id desc limit 1
"""


def test_a_job_that_fails_is_tried_again_later_and_later(jobs: Database) -> None:
    schedule(jobs, "bad", "select 1 / 0", retries=2)
    waits = []
    for _ in range(3):
        jobs.run("update pgopt.job set retry_at = clock_timestamp() where retry_at is not null")
        assert [ran.error for ran in run_due(jobs)] == ["division by zero"]
        waits.append(jobs.value(WAIT))
    assert waits == [10, 40, None]
    assert jobs.rows("select attempts, failures, next_due > now() from pgopt.job") == [(0, 3, True)]
    assert [attempt for attempt, _, _ in runs(jobs, "bad")] == [1, 2, 3]
    jobs.run("update pgopt.job set command = 'select 1'")
    make_due(jobs, "bad")
    run_due(jobs)
    assert jobs.rows("select attempts, failures, next_due > now() from pgopt.job") == [(0, 0, True)]


def test_a_round_does_not_wait_for_what_failed(jobs: Database) -> None:
    schedule(jobs, "bad", "select 1 / 0")
    schedule(jobs, "good", say("good"))
    assert [ran.job for ran in run_due(jobs)] == ["bad", "good"]


def test_a_limit_ends_a_job(jobs: Database) -> None:
    schedule(jobs, "long", "select pg_sleep(600)", time_limit="0.2 s", retries=0)
    assert [ran.error for ran in run_due(jobs)] == ["canceling statement due to statement timeout"]
    assert runs(jobs, "long") == [(1, "failed", "canceling statement due to statement timeout")]


@pytest.mark.parametrize(("catch_up", "expected"), [("once", 1), ("all", 4)])
def test_what_was_missed_is_made_up_for_as_the_job_says(jobs: Database, catch_up: str, expected: int) -> None:
    schedule(jobs, "job", say("job"), catch_up=catch_up)
    make_due(jobs, "job", ago="3 hours 30 minutes")
    assert len(run_due(jobs)) == expected
    # the rhythm is kept
    assert jobs.value("select next_due between now() + interval '29 min' and now() + interval '31 min' from pgopt.job")


def test_what_is_too_late_is_left_out(jobs: Database) -> None:
    schedule(jobs, "job", say("job"), start_within="1 hour", every="1 day")
    make_due(jobs, "job", ago="2 hours")
    assert run_due(jobs) == []
    assert runs(jobs, "job") == [(0, "left out", None)]
    assert jobs.value("select next_due > now() from pgopt.job") is True
    make_due(jobs, "job", ago="50 minutes")
    assert len(run_due(jobs)) == 1


def test_a_job_that_is_paused_does_not_run(jobs: Database) -> None:
    schedule(jobs, "job", say("job"))
    jobs.run("update pgopt.job set enabled = false")
    assert run_due(jobs) == []


@pytest.mark.parametrize("count", [2, 4])
def test_some_runners_at_once_run_each_job_once(jobs: Database, count: int) -> None:
    names = [f"job {n}" for n in range(12)]
    for name in names:
        schedule(jobs, name, say(name))
    together = threading.Barrier(count)

    def work() -> None:
        with runner(jobs) as found:
            for _ in range(ROUNDS):
                if together.wait() == 0:
                    jobs.run("update pgopt.job set next_due = clock_timestamp()")
                together.wait()
                list(found.round())

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted((name, ROUNDS) for name in names)
    assert jobs.rows('select said, count(*)::int from log group by said order by said collate "C"') == expected
    assert jobs.rows('select job, count(*)::int from pgopt.job_run group by job order by job collate "C"') == expected
    assert jobs.value("select count(distinct pid) > 1 from log") is True


def test_the_isolation_of_the_role_is_the_commands_alone(jobs: Database) -> None:
    jobs.run(f"alter database {jobs.name} set default_transaction_isolation = 'repeatable read'")
    schedule(jobs, "job", "insert into log (said) values (current_setting('transaction_isolation'))")
    with runner(jobs) as found:
        for _ in range(2):
            make_due(jobs, "job")
            assert [ran.error for ran in found.round()] == [None]
            assert found.session.value("select current_setting('transaction_isolation')") == "read committed"
    assert jobs.rows("select distinct said from log") == [("repeatable read",)]


def test_a_job_that_is_at_work_is_left_to_its_runner(jobs: Database) -> None:
    jobs.run("create table gate ()")
    schedule(jobs, "job", f"select from gate; {say('job')}")
    with jobs.connect() as holder, holder.transaction():
        holder.execute("lock table gate")
        first = threading.Thread(target=run_due, args=(jobs,))
        first.start()
        wait_until("the job waits", lambda: jobs.value("select count(*) from pg_locks where not granted") == 1)
        make_due(jobs, "job", ago="1 day")
        assert run_due(jobs) == []
        shown = pgopt("jobs", jobs=jobs)
        assert "at work for" in shown.stdout
        assert "it has been running for longer than the time between two runs" not in shown.stdout
    first.join()
    assert jobs.value("select count(*) from log") == 1


def test_a_job_that_is_unscheduled_meanwhile_comes_to_its_end(jobs: Database) -> None:
    schedule(jobs, "job", "delete from pgopt.job; " + say("job"))
    assert [ran.error for ran in run_due(jobs)] == [None]
    assert runs(jobs, "job") == [(1, "succeeded", None)]


def test_what_a_killed_runner_had_claimed_is_free_once_the_server_is_done_with_it(jobs: Database) -> None:
    jobs.run("create table gate ()")
    schedule(jobs, "job", f"select from gate; {say('job')}", retries=1)
    command = [sys.executable, "-m", "pgopt.cli.main", "run-due", "--url", jobs.server.url(jobs.name)]
    for attempt in (1, 2):
        jobs.run("update pgopt.job set retry_at = clock_timestamp() where retry_at is not null")
        with jobs.connect() as holder, holder.transaction():
            holder.execute("lock table gate")
            with subprocess.Popen(command) as killed:
                wait_until("the job waits", lambda: jobs.value("select count(*) from pg_locks where not granted") == 1)
                os.kill(killed.pid, signal.SIGKILL)
            # its session is at work still
            assert run_due(jobs) == []
            jobs.run("select pg_terminate_backend(pid) from pg_locks where not granted")
            wait_until(
                "the session is gone",
                lambda: not jobs.value("select count(*) from pg_locks where locktype = 'advisory'"),
            )
        assert "interrupted" in pgopt("jobs", jobs=jobs).stdout
        assert run_due(jobs) == []
        assert runs(jobs, "job") == [(each, "failed", GONE) for each in range(1, attempt + 1)]
    # as often as it may be tried
    assert jobs.rows("select attempts, failures, retry_at, next_due > now() from pgopt.job") == [(0, 2, None, True)]
    make_due(jobs, "job")
    assert [ran.error for ran in run_due(jobs)] == [None]
    assert jobs.value("select count(*) from log") == 1


class Killed(Exception):
    """The runner is no more."""


def killed_before(jobs: Database, number: int) -> bool:
    """Run what is due, and let the connection end before a statement of some number; say whether there was one."""
    engine, sent = jobs.engine(isolation_level="AUTOCOMMIT"), list[str]()

    @event.listens_for(engine, "before_cursor_execute")
    def kill(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)
        if len(sent) == number:
            connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
            raise Killed

    with suppress(Killed, DBAPIError), engine.connect() as connection:
        list(Runner(connection).round())
    return len(sent) >= number


def test_wherever_a_runner_ends_its_job_is_run_and_nothing_is_left(jobs: Database) -> None:
    schedule(jobs, "job", say("job"))
    for number in itertools.count(1):
        jobs.run("truncate log; update pgopt.job set next_due = clock_timestamp() - interval '1 second'")
        killed = killed_before(jobs, number)
        wait_until(
            "its session is gone", lambda: not jobs.value("select count(*) from pg_locks where locktype = 'advisory'")
        )
        had_run = jobs.value("select count(*) from log")
        for _ in range(2):
            run_due(jobs)
            jobs.run("update pgopt.job set retry_at = clock_timestamp() where retry_at is not null")
        assert jobs.value("select count(*) from pgopt.job_run where finished_at is null") == 0
        assert jobs.rows("select attempts, failures, retry_at, next_due > now() from pgopt.job") == [(0, 0, None, True)]
        again = jobs.value("select count(*) from log") - had_run
        noted = jobs.value("select outcome = 'succeeded' and attempt = 1 from pgopt.job_run order by id desc limit 1")
        assert again == (0 if had_run and noted else 1), f"statement {number}"
        if not killed:
            break
    assert number > 10


def test_a_job_that_loses_its_connection_is_tried_again(jobs: Database) -> None:
    schedule(jobs, "job", "select pg_terminate_backend(pg_backend_pid())")
    schedule(jobs, "other", say("other"))
    assert [ran.error for ran in run_due(jobs)] == [LOST]
    assert [(ran.job, ran.error) for ran in run_due(jobs)] == [("other", None)]
    assert runs(jobs, "job") == [(1, "failed", GONE)]


@pytest.mark.parametrize("claimed", [True, False])
def test_a_runner_that_dies_around_the_command_leaves_nothing_locked(jobs: Database, *, claimed: bool) -> None:
    schedule(jobs, "job", say("job"))
    with runner(jobs) as found:
        row = found.session.row("select run from pgopt.claim_job('test')")
        if not claimed:
            found.session.value(f"select pgopt.finish_job({row[0]})")
        pid = found.session.pid
        assert run_due(jobs) == []
        jobs.run(f"select pg_terminate_backend({pid})")
        wait_until("it is gone", lambda: not jobs.value("select count(*) from pg_locks where locktype = 'advisory'"))
        run_due(jobs)
    assert runs(jobs, "job") == [(1, "failed", GONE) if claimed else (1, "succeeded", None)]


def test_a_job_that_is_scheduled_anew_has_not_failed(jobs: Database) -> None:
    schedule(jobs, "job", "begin; delete from pgopt.job; commit; select pg_terminate_backend(pg_backend_pid())")
    assert [ran.error for ran in run_due(jobs)] == [LOST]
    schedule(jobs, "job", say("job"))
    assert [ran.error for ran in run_due(jobs)] == [None]
    assert runs(jobs, "job") == [
        (1, "failed", "the job was unscheduled before it ended"),
        (1, "succeeded", None),
    ]


def test_history_is_kept_as_long_as_the_job_says(jobs: Database) -> None:
    schedule(jobs, "job", say("job"))
    jobs.run("update pgopt.job set history = '1 day'")
    for _ in range(3):
        make_due(jobs, "job")
        run_due(jobs)
        jobs.run("update pgopt.job_run set finished_at = finished_at - interval '25 hours'")
    assert len(runs(jobs, "job")) == 1


def test_a_role_that_is_no_superuser_runs_its_own_jobs(database: Database) -> None:
    database.run(
        'create role "Own er" login; grant create on database :db to "Own er"'.replace(":db", f'"{database.name}"')
    )
    theirs = Database(replace(database.server, user="Own er"), database.name)
    try:
        database.run('grant create on schema public to "Own er"')
        theirs.run(LOG)
        theirs.perform(InstallPgopt(1))
        schedule(theirs, 'J\'ob "1" %s :n', say("%s :n"))
        assert [ran.error for ran in run_due(theirs)] == [None]
        assert pgopt("jobs", jobs=theirs).returncode == 0
        database.run("create role stranger login")
        strangers = Database(replace(database.server, user="stranger"), database.name)
        for command in ("jobs", "run-due", "worker"):
            done = pgopt(command, jobs=strangers)
            assert (done.returncode, done.stderr) == (1, "pgopt: permission denied for schema pgopt\n")
    finally:
        database.run('drop owned by "Own er"; drop role "Own er"; drop role if exists stranger')


# -- the command line ----------------------------------------------------------------------------------------------------


def test_run_due_tells_what_it_ran_and_whether_it_went_well(jobs: Database) -> None:
    schedule(jobs, "good", say("good"))
    done = pgopt("run-due", jobs=jobs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("good: succeeded (")
    schedule(jobs, "bad", "select 1 / 0")
    done = pgopt("run-due", jobs=jobs)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bad: failed: division by zero (")
    jobs.run("update pgopt.job set retry_at = 'infinity' where name = 'bad'")
    assert pgopt("run-due", jobs=jobs).returncode == 0


def test_jobs_are_shown_in_a_hundred_columns(jobs: Database) -> None:
    long = "a name that is rather longer than most names of jobs are"
    jobs.perform(
        ScheduleJob("statistics", "analyze", cron="30 3 * * *", timezone="America/Argentina/Buenos_Aires"),
        ScheduleJob(long, "select 1", every="1 day"),
        ScheduleJob("paused", "select 1", every="1 day"),
    )
    jobs.run("update pgopt.job set enabled = false, failures = 5 where name = 'paused'")
    done = pgopt("jobs", jobs=jobs)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "in 24 h" in done.stdout
    schedule(jobs, "bad", "select 1 / 0 as a_column_of_a_name_that_is_long, 'and more'::no_such_type", every="1 day")
    run_due(jobs)
    make_due(jobs, long, ago="10 minutes")
    done = pgopt("jobs", jobs=jobs)
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 100
    said = " ".join(done.stdout.split())
    assert 'it has failed once: type "no_such_type" does not exist' in said
    assert "it was due 10 min ago: let pgopt worker, pgopt run-due or pg_cron run it" in said


def test_without_jobs_there_is_one_sentence(database: Database) -> None:
    for command in ("jobs", "run-due", "worker"):
        done = pgopt(command, jobs=database)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "pgopt: jobs are kept in the pgopt schema, which is not there: add `op.install_pgopt"
        )
    with pytest.raises(NotInstalled):
        run_due(database)
    database.perform(InstallPgopt(1))
    assert pgopt("jobs", jobs=database).stdout == "there are no jobs\n"
