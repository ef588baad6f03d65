"""Jobs that are run by the clock."""

from __future__ import annotations

from pgopt.operations import InstallPgopt, ScheduleJob, UnscheduleJob
from tests.contract.examples.base import Example

LOG = "create table log (id bigint generated always as identity primary key, said text)"
WRITES = "insert into log (said) values ('{n}')"
ANALYZE = ("statistics", "analyze log")
STRANGE = {"command": 'call "S x"."Do it"(\':n %s {{}} $$\', "re:gion" => 1);', "name": 'J\'ob "1" %s :n'}
LONG = "j" * 63


EXAMPLES = [
    Example(
        "schedule a job by the clock",
        LOG,
        ScheduleJob(*ANALYZE, cron="30 3 * * mon-fri", timezone="Europe/Berlin"),
        before=(InstallPgopt(1),),
        writes=WRITES,
        named=True,
    ),
    Example(
        "schedule a job every few seconds",
        LOG,
        ScheduleJob(
            "tick", "vacuum log", every="20 seconds", catch_up="all", start_within="1 hour", time_limit="90s", retries=0
        ),
        before=(InstallPgopt(1), ScheduleJob(*ANALYZE, every="1 day")),
        writes=WRITES,
        named=True,
    ),
    Example(
        "schedule a job of strange words",
        LOG,
        ScheduleJob(STRANGE["name"], STRANGE["command"], cron="*/5,59 0-23/2 29 feb 7"),
        before=(InstallPgopt(1),),
        writes=WRITES,
    ),
    Example(
        "schedule a job of a long name",
        LOG,
        ScheduleJob(LONG + " and more than a name may have", "select 1", every="1 day"),
        before=(InstallPgopt(1),),
        writes=WRITES,
    ),
    Example(
        "unschedule a job",
        LOG,
        UnscheduleJob(*ANALYZE, every="60 minutes", time_limit="1 hour"),
        before=(InstallPgopt(1), ScheduleJob(*ANALYZE, every="1 hour", time_limit="60 minutes")),
        writes=WRITES,
        back=(ScheduleJob(*ANALYZE, every="1 hour", time_limit="60 minutes"),),
        named=True,
    ),
    Example(
        "unschedule a job of strange words",
        LOG,
        UnscheduleJob(STRANGE["name"], STRANGE["command"], cron="0 0 1 1 *", timezone="Pacific/Apia"),
        before=(
            InstallPgopt(1),
            ScheduleJob(STRANGE["name"], STRANGE["command"], cron="0 0 1 1 *", timezone="Pacific/Apia"),
        ),
        writes=WRITES,
    ),
]
