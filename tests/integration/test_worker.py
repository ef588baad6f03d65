"""A worker goes on running jobs until it is told to stop; some of them share the work."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pgopt.operations import InstallPgopt, ScheduleJob
from tests.databases import Database
from tests.databases import wait_until as wait
from tests.servers import binaries, of_binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = "create table log (said text, pid int default pg_backend_pid()); create table gate ()"
WAITING = "select count(*) from pg_locks where relation = 'gate'::regclass and not granted"


wait_until = partial(wait, seconds=120)
"""A worker is a process of its own, which takes a while to begin on a machine that has much to do."""


@pytest.fixture
def jobs(database: Database) -> Database:
    database.run(LOG)
    database.perform(InstallPgopt(1))
    return database


@contextmanager
def worker(jobs: Database, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "pgopt.cli.main", "worker", "--url", jobs.server.url(jobs.name), *options]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> str:
    """Ask it politely to stop, and give what it said."""
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return said


def test_two_workers_share_what_is_due_and_no_run_is_made_twice(jobs: Database) -> None:
    for number in range(6):
        jobs.perform(ScheduleJob(f"job {number}", f"insert into log values ('{number}')", every="1 second"))
    with worker(jobs) as one, worker(jobs, "--jobs", "2") as two:
        wait_until(
            "both have worked",
            lambda: jobs.value("select count(distinct runner) = 2 and count(*) > 30 from pgopt.job_run"),
        )
        assert end(one).count("succeeded") + end(two).count("succeeded") == jobs.value("select count(*) from log")
    assert jobs.rows("select job, due from pgopt.job_run group by job, due having count(*) > 1") == []
    assert jobs.rows("select distinct outcome, attempt from pgopt.job_run") == [("succeeded", 1)]
    overlaps = jobs.value(
        "select count(*) from pgopt.job_run a join pgopt.job_run b on a.job = b.job and a.id < b.id and b.started_at < a.finished_at"
    )
    assert overlaps == 0


def test_a_worker_that_is_told_to_stop_brings_its_job_to_an_end(jobs: Database) -> None:
    jobs.perform(ScheduleJob("job", "select from gate; insert into log values ('job')", every="1 second"))
    with worker(jobs) as process:
        with jobs.connect() as holder, holder.transaction():
            holder.execute("lock table gate")
            wait_until("the job waits", lambda: jobs.value(WAITING))
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
        assert "job: succeeded" in process.communicate(timeout=60)[0]
        assert process.returncode == 0
    assert jobs.rows("select outcome from pgopt.job_run") == [("succeeded",)]
    assert jobs.value("select count(*) from log") == 1


def test_a_long_job_holds_up_no_other_where_there_is_room(jobs: Database) -> None:
    jobs.perform(
        ScheduleJob("long", "select from gate", every="1 second"),
        ScheduleJob("short", "insert into log values ('short')", every="1 second"),
    )
    with worker(jobs, "--jobs", "2"), jobs.connect() as holder, holder.transaction():
        holder.execute("lock table gate")
        wait_until("the long one waits", lambda: jobs.value(WAITING))
        wait_until("the short one goes on", lambda: jobs.value("select count(*) > 2 from log"))


def test_the_job_of_a_killed_worker_is_taken_over(jobs: Database) -> None:
    jobs.perform(ScheduleJob("job", "select from gate; insert into log values ('job')", every="1 second"))
    with jobs.connect() as holder, holder.transaction():
        holder.execute("lock table gate")
        with worker(jobs) as killed:
            wait_until("the job waits", lambda: jobs.value(WAITING))
            killed.kill()
            killed.wait()
        jobs.run("select pg_terminate_backend(pid) from pg_locks where relation = 'gate'::regclass and not granted")
    with worker(jobs) as process:
        wait_until(
            "it is tried again", lambda: jobs.value("select retry_at is not null or attempts = 0 from pgopt.job")
        )
        jobs.run("update pgopt.job set retry_at = clock_timestamp() where retry_at is not null")
        wait_until("it has run", lambda: jobs.value("select count(*) from log"))
        end(process)
    assert jobs.rows("select attempt, outcome from pgopt.job_run order by id limit 2") == [
        (1, "failed"),
        (2, "succeeded"),
    ]


def test_a_worker_comes_back_when_its_connection_is_gone(jobs: Database) -> None:
    jobs.perform(ScheduleJob("job", "insert into log values ('job')", every="1 second"))
    with worker(jobs) as process:
        wait_until("it works", lambda: jobs.value("select count(*) from log"))
        jobs.run("select pg_terminate_backend(pid) from log; delete from log")
        wait_until("it works again", lambda: jobs.value("select count(*) from log"))
        assert "trying again in 5 s" in end(process) or jobs.value(
            "select count(*) from pgopt.job_run where outcome = 'failed'"
        )


def test_on_a_standby_all_is_quiet() -> None:
    with of_binaries(binaries()) as primary:
        jobs = Database(primary, "postgres")
        jobs.run(LOG)
        jobs.perform(InstallPgopt(1), ScheduleJob("job", "insert into log values ('job')", every="1 second"))
        with of_binaries(binaries(), standby_of=primary) as standby:
            there = Database(standby, "postgres")
            command = [sys.executable, "-m", "pgopt.cli.main", "run-due", "--url", standby.url("postgres")]
            wait_until("it is due", lambda: there.value("select next_due < clock_timestamp() from pgopt.job"))
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            # a session that has asked before may not have ended yet
            begun = there.value("select clock_timestamp()")
            looks = f"query ~ 'pgopt.job' and query !~ 'pg_stat_activity' and backend_start > '{begun}'"
            with worker(there) as process:
                wait_until(
                    "it looks", lambda: there.value(f"select exists (select from pg_stat_activity where {looks})")
                )
                assert end(process) == ""
