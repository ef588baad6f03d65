"""Jobs as migrations say them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation, NotInstalled, NotReversible
from pgopt.operations import InstallPgopt, Operation, ScheduleJob, UninstallPgopt, UnscheduleJob
from pgopt.operations.jobs import drop_job_statement, job_statement
from pgopt.server.quoting import render

if TYPE_CHECKING:
    from tests.databases import Database

ANALYZE = ScheduleJob("statistics", "analyze", every="1 hour")


@pytest.fixture
def jobs(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    return database


def test_without_the_schema_there_is_one_sentence(database: Database) -> None:
    with pytest.raises(NotInstalled, match=r"schedule_job statistics: jobs are kept in .* `op.install_pgopt"):
        database.perform(ANALYZE)


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        (ScheduleJob("j", "select 1", cron="61 * * * *"), r"job j: cron '61 \* \* \* \*': '61' is no minute"),
        (ScheduleJob("j", "select 1", cron="0 0 31 feb *"), "such a day never comes"),
        (ScheduleJob("j", "select 1", cron="0 0 * * *", timezone="Europe/Berln"), 'time zone "Europe/Berln" not rec'),
        (ScheduleJob("j", "select 1", every="soon"), 'invalid input syntax for type interval: "soon"'),
        (ScheduleJob("j", "select 1", every="1 month"), "without months, or say it by cron"),
        (ScheduleJob("j", "select 1", every="0.5 s"), "a second or more"),
        (ScheduleJob("j", "select 1", every="1 h", time_limit="-1 h"), "start_within and time_limit of job j"),
    ],
)
def test_what_is_no_time_is_refused_when_it_is_planned(jobs: Database, operation: Operation, sentence: str) -> None:
    with pytest.raises(InvalidOperation, match=sentence):
        jobs.perform(operation)
    assert jobs.value("select count(*) from pgopt.job") == 0


def test_what_cannot_be_right_is_refused_at_once() -> None:
    for said, sentence in (
        ({"command": "select 1"}, "say either cron="),
        ({"command": "select 1", "cron": "* * * * *", "every": "1 h"}, "say either cron="),
        ({"command": " ; ", "every": "1 h"}, "no command"),
        ({"command": "select 1", "every": "1 h", "retries": -1}, "retries=-1"),
        ({"command": "select 1", "every": "1 h", "catch_up": "some"}, "say 'once' or 'all'"),
    ):
        with pytest.raises(InvalidOperation, match=sentence):
            ScheduleJob("j", **said)
    with pytest.raises(InvalidOperation, match="needs a name"):
        ScheduleJob(" ", "select 1", every="1 h")


def test_another_job_of_that_name_is_shown_beside_the_wanted_one(jobs: Database) -> None:
    jobs.perform(ANALYZE)
    wanted = ScheduleJob("statistics", "analyze", cron="0 3 * * *")
    for operation in (wanted, wanted.reverse()):
        with pytest.raises(
            InvalidOperation, match=r"with no cron, every '01:00:00', and not cron '0 3 \* \* \*', no every"
        ) as refused:
            jobs.perform(operation)
        assert "\n" not in str(refused.value)
    assert jobs.rows("select name, every::text from pgopt.job") == [("statistics", "01:00:00")]


def test_a_job_that_is_paused_is_the_same_job(jobs: Database) -> None:
    jobs.perform(ANALYZE)
    jobs.run("update pgopt.job set enabled = false")
    jobs.perform(ANALYZE)
    assert jobs.value("select enabled from pgopt.job") is False
    jobs.perform(ANALYZE.reverse())
    assert jobs.rows("select * from pgopt.job") == []


def test_a_pause_is_no_downtime(jobs: Database) -> None:
    jobs.perform(ANALYZE)
    jobs.run("update pgopt.job set enabled = false; update pgopt.job set next_due = now() - interval '1 day'")
    jobs.run("update pgopt.job set enabled = true")
    assert jobs.value("select next_due > now() + interval '50 minutes' from pgopt.job") is True


def test_another_time_that_is_written_into_the_table_holds_at_once(jobs: Database) -> None:
    jobs.perform(ANALYZE)
    jobs.run("update pgopt.job set every = '1 minute'")
    assert jobs.value("select next_due < now() + interval '61 seconds' from pgopt.job") is True
    with pytest.raises(Exception, match="such a day never comes"):
        jobs.run("update pgopt.job set every = null, cron = '0 0 30 2 *'")


def test_a_bare_name_unschedules_whatever_it_is(jobs: Database) -> None:
    jobs.perform(ANALYZE, UnscheduleJob("statistics"))
    assert jobs.rows("select * from pgopt.job") == []
    with pytest.raises(NotReversible, match="say its command and when it runs"):
        UnscheduleJob("statistics").reverse()


def test_pgopt_is_not_uninstalled_while_there_are_jobs(jobs: Database) -> None:
    jobs.perform(ANALYZE)
    with pytest.raises(InvalidOperation, match=r"pgopt.job still holds statistics: op.unschedule_job\(\)"):
        jobs.perform(UninstallPgopt(1))
    jobs.perform(ANALYZE.reverse(), UninstallPgopt(1))


@pytest.mark.parametrize(
    ("when", "expected"),
    [("every 20 seconds", (None, "00:00:20", "UTC")), ("0 3 * * *", ("0 3 * * *", None, "UTC"))],
)
def test_another_operation_may_have_a_job_of_its_own(jobs: Database, when: str, expected: tuple[str | None]) -> None:
    jobs.run(render(job_statement("refresh:%s 'x'", "select ':n %'", when)))
    assert jobs.rows("select cron, every::text, timezone from pgopt.job") == [expected]
    jobs.run(render(drop_job_statement("refresh:%s 'x'")))
    assert jobs.rows("select * from pgopt.job") == []


def test_nobody_else_may_look_or_run(jobs: Database) -> None:
    public = jobs.rows(
        "select p.oid::regprocedure::text from pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a"
        " where pronamespace = 'pgopt'::regnamespace and a.grantee = 0"
    )
    assert public == []
