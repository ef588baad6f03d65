"""When jobs are due: cron expressions in a time zone, also on the days on which its clock is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgopt.operations import InstallPgopt
from pgopt.server.quoting import literal, render, sql

if TYPE_CHECKING:
    from tests.databases import Database


@pytest.fixture
def clock(database: Database) -> Database:
    """A database with the pgopt schema."""
    database.perform(InstallPgopt(1))
    return database


def due(clock: Database, cron: str, timezone: str, after: str, times: int = 3) -> list[str]:
    """When a job is due after a moment, some times, in its own time zone."""
    query = sql(
        "with recursive due (n, at) as (select 1, pgopt.cron_next({c}, {z}, {a}) union all"
        " select n + 1, pgopt.cron_next({c}, {z}, at) from due where n < {n}) select at from due order by n",
        c=literal(cron),
        z=literal(timezone),
        a=sql("{}::timestamptz", literal(after)),
        n=literal(times),
    )
    with clock.connect() as connection:
        connection.execute(render(sql("set timezone = {}", literal(timezone))))
        return [f"{at:%Y-%m-%d %H:%M%z}" for (at,) in connection.execute(render(query))]


def hours(moments: list[str]) -> list[str]:
    return [moment[11:] for moment in moments]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("*/15 * * * *", "2026-01-01 00:00", ["2026-01-01 00:15", "2026-01-01 00:30", "2026-01-01 00:45"]),
        ("0 0 29 2 *", "2026-01-01", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("0 0 29 2 *", "2096-03-01", ["2104-02-29 00:00", "2108-02-29 00:00", "2112-02-29 00:00"]),
        ("0 0 31 * *", "2026-01-31", ["2026-03-31 00:00", "2026-05-31 00:00", "2026-07-31 00:00"]),
        # both days said: either
        ("0 9 13 * fri", "2026-11-01", ["2026-11-06 09:00", "2026-11-13 09:00", "2026-11-20 09:00"]),
        # 7 is Sunday, too
        ("59 23 * DEC 6-7", "2026-11-01", ["2026-12-05 23:59", "2026-12-06 23:59", "2026-12-12 23:59"]),
        ("5-10/2,58/1 0,12 1 1 *", "2026-01-01", ["2026-01-01 00:05", "2026-01-01 00:07", "2026-01-01 00:09"]),
        ("0 0 */10 * *", "2026-01-01", ["2026-01-11 00:00", "2026-01-21 00:00", "2026-01-31 00:00"]),
        ("  0   6 * *  1  ", "2026-11-21 12:34:56.789", ["2026-11-23 06:00", "2026-11-30 06:00", "2026-12-07 06:00"]),
    ],
)
def test_a_cron_expression_names_times(clock: Database, cron: str, after: str, expected: list[str]) -> None:
    assert [moment[:16] for moment in due(clock, cron, "UTC", after + "+00")] == expected


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [
        ("* * * *", "five fields are wanted"),
        ("60 * * * *", "'60' is no minute from 0 to 59"),
        ("* 24 * * *", "'24' is no hour from 0 to 23"),
        ("* * 0 * *", "'0' is no day of the month from 1 to 31"),
        ("* * * 13 *", "'13' is no month from 1 to 12"),
        ("* * * * 8", "'8' is no day of the week from 0 to 7"),
        ("* * * * someday", "'someday' is no day of the week"),
        ("*/0 * * * *", "'\\*/0' is no minute"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("*-5 * * * *", "'\\*-5' is no minute"),
        ("0 0 30 2 *", "such a day never comes"),
        ("jan * * * *", "'jan' is no minute"),
    ],
)
def test_what_is_no_cron_expression_is_refused(clock: Database, cron: str, sentence: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"cron '.*{sentence}"):
        due(clock, cron, "UTC", "2026-01-01")


@pytest.mark.parametrize(
    ("timezone", "cron", "after", "expected"),
    [
        # what is leapt over counts once the clock has leapt, and what is there twice counts the first time
        ("Europe/Berlin", "30 2 * * *", "2026-03-28 02:30", ["03:00+0200", "02:30+0200", "02:30+0200"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24 02:30", ["02:30+0200", "02:30+0100", "02:30+0100"]),
        ("America/New_York", "30 2 * * *", "2026-03-07 02:30", ["03:00-0400", "02:30-0400", "02:30-0400"]),
        ("America/New_York", "30 1 * * *", "2026-10-31 01:30", ["01:30-0400", "01:30-0500", "01:30-0500"]),
        # of several in the hour that is leapt over one is left
        ("Europe/Berlin", "0,20,40 2 * * *", "2026-03-28 03:00", ["03:00+0200", "02:00+0200", "02:20+0200"]),
        ("Europe/Berlin", "0,30 1-3 * * *", "2026-03-29 01:00", ["01:30+0100", "03:00+0200", "03:30+0200"]),
        ("Europe/Berlin", "0 2,3 * * *", "2026-10-25 01:00", ["02:00+0200", "03:00+0100", "02:00+0100"]),
        # every hour is no time of the day
        ("Europe/Berlin", "0 * * * *", "2026-10-25 01:30", ["02:00+0200", "02:00+0100", "03:00+0100"]),
        ("Europe/Berlin", "0 * * * *", "2026-03-29 00:30", ["01:00+0100", "03:00+0200", "04:00+0200"]),
        ("America/New_York", "30 * * * *", "2026-11-01 00:30", ["01:30-0400", "01:30-0500", "02:30-0500"]),
        # the clock is changed at midnight, by half an hour, and by a day
        ("America/Havana", "0 0 * * *", "2026-03-07 12:00", ["01:00-0400", "00:00-0400", "00:00-0400"]),
        ("America/Havana", "30 0 * * *", "2026-10-31 12:00", ["00:30-0400", "00:30-0500", "00:30-0500"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 02:15", ["02:30+1100", "02:15+1100", "02:15+1100"]),
        ("Pacific/Apia", "0 12 * * *", "2011-12-29 12:00", ["00:00+1400", "12:00+1400", "12:00+1400"]),
    ],
)
def test_each_time_counts_once_when_the_clock_is_changed(
    clock: Database, timezone: str, cron: str, after: str, expected: list[str]
) -> None:
    assert hours(due(clock, cron, timezone, f"{after} {timezone}")) == expected


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "America/New_York", "UTC"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "30 1 * * *", "0 0 * * *", "59 23 * * *"])
def test_a_daily_job_is_due_once_on_each_day_of_a_year(clock: Database, timezone: str, cron: str) -> None:
    days = [moment[:10] for moment in due(clock, cron, timezone, f"2025-12-31 23:59:30 {timezone}", 365)]
    assert len(set(days)) == 365
    assert (days[0], days[-1]) == ("2026-01-01", "2026-12-31")


@pytest.mark.parametrize("session", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_the_time_zone_of_the_session_does_not_matter(clock: Database, session: str) -> None:
    with clock.connect() as connection:
        connection.execute(render(sql("set timezone = {}", literal(session))))
        found = connection.execute(
            "select pgopt.cron_next('30 2 * * *', 'Europe/Berlin', '2026-03-28 12:00+00') = '2026-03-29 01:00+00'"
        ).fetchone()
    assert found == (True,)
