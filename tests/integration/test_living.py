"""Partitioned tables that go on living: partitions made ahead, gaps filled, what is old taken out."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Column, Date, event

from pgopt import Daily, IntRange, InvalidOperation, Monthly, Quarterly, Weekly, Yearly
from pgopt.operations import (
    CreatePartitionedTable,
    FinalizePartitioning,
    InstallPgopt,
    ManagePartitions,
    PartitionTable,
    SetStorageParameters,
    UninstallPgopt,
    UnpartitionTable,
)
from pgopt.server.quoting import literal, render

if TYPE_CHECKING:
    from pathlib import Path

    from pgopt.copy.by import Partitioning
    from tests.databases import Database

LOGS = """
create role "Own er"; create schema "S x" authorization "Own er";
create table "S x"."Lo'gs" (
    id bigint generated always as identity, "At" timestamptz not null default now(), action text not null default 'a' check (action <> ''),
    size int generated always as (length(action)) stored, primary key (id, "At")
);
alter table "S x"."Lo'gs" owner to "Own er";
create index "by action" on "S x"."Lo'gs" (lower(action)) where id > 5;
insert into "S x"."Lo'gs" ("At", action) select date_trunc('month', now()) - g * interval '10 days', 'act' || g from generate_series(1, 20) g;
"""
LEAF = "(select partition from pgopt.partitions_of('\"S x\".\"Lo''gs\"') order by high desc limit 1)"
DRESS = """
do $$
declare leaf text := LEAF; index text;
begin
    execute format('alter table %s alter "At" set statistics 300, alter action set (n_distinct = 7), replica identity full', leaf);
    execute format('comment on table %s is ''le%%af''; comment on column %s.action is ''what''', leaf, leaf);
    execute format('grant select on %s to public; grant insert (action) on %s to pg_monitor with grant option', leaf, leaf);
    execute format('alter table %s enable row level security', leaf);
    for index in select i.indexrelid::regclass from pg_index i where i.indrelid = leaf::regclass loop
        execute format('alter index %s set (fillfactor = 66)', index);
        execute format('comment on index %s is ''index''', index);
    end loop;
end $$
"""
NUMBERS = "create table numbers (id int primary key); insert into numbers values (5), (15), (25), (47)"
DAYS = "create table days (id int, at date not null, primary key (id, at)); insert into days select g, current_date - g from generate_series(0, 9) g"


def maintain(database: Database, table: str | None = None) -> list[tuple[str, str]]:
    said = "null" if table is None else f"'{table}'"
    return database.rows(
        f"select action, coalesce(substring(partition from '_(p[^_]*)$'), partition) from pgopt.maintain_partitions({said})"
    )


def partitions(database: Database, table: str) -> list[tuple[Any, ...]]:
    return database.rows(f"select lower, upper from pgopt.partitions_of('{table}') where low is not null order by low")


def rule(database: Database, **values: Any) -> None:
    said = ", ".join(f"{name} = {render(literal(value))}" for name, value in values.items())
    database.run(f"update pgopt.partitioned set {said}")


def normal(dump: str, table: str, bounds: tuple[str, str]) -> list[str]:
    """What pg_dump says of a partition, without its name and bounds."""
    for value, mark in ((table, "NAME"), (bounds[0], "FROM"), (bounds[1], "TO")):
        dump = dump.replace(value, mark)
    return sorted(line for line in dump.splitlines() if line and not line.startswith("--"))


def test_a_new_partition_differs_from_its_sibling_in_name_and_bounds_alone(database: Database) -> None:
    database.run(LOGS)
    try:
        database.perform(InstallPgopt(1), PartitionTable("Lo'gs", Monthly("At"), premake=1, schema="S x"))
        database.run(DRESS.replace("LEAF", LEAF))
        database.perform(
            SetStorageParameters("Lo'gs", {"fillfactor": 71, "toast.autovacuum_enabled": False}, schema="S x")
        )
        database.run("alter default privileges grant all on tables to pg_read_all_data")
        rule(database, premake=2)
        assert [action for action, _ in maintain(database)] == ["created"]
        rows = database.rows(
            "select p.lower, p.upper, c.relname from pgopt.partitions_of('\"S x\".\"Lo''gs\"') p join pg_class c on c.oid = p.partition"
            " order by p.high desc limit 2"
        )
        dumps = [
            normal(
                database.server.run(
                    "pg_dump", database.name, "--schema-only", "--restrict-key=pgopt", f'--table="S x"."{name}"'
                ),
                name,
                (lower, upper),
            )
            for lower, upper, name in rows
        ]
        assert len(dumps[0]) > 20
        assert dumps[0] == dumps[1]
    finally:
        database.run('drop schema "S x" cascade; drop owned by "Own er"; drop role "Own er"')


def test_a_second_run_finds_nothing_to_do(database: Database) -> None:
    database.run(DAYS)
    database.perform(InstallPgopt(1), PartitionTable("days", Daily("at"), premake=1))
    rule(database, premake=3)
    assert len(maintain(database)) == 2
    assert maintain(database) == []
    assert maintain(database, "days") == []


def test_gaps_are_filled(database: Database) -> None:
    database.run(NUMBERS)
    database.perform(
        InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=1), FinalizePartitioning("numbers")
    )
    database.run(
        "drop table numbers_p10, numbers_p30; create table odd partition of numbers for values from (10) to (14)"
    )
    assert maintain(database) == [("created", "p10"), ("created", "p30")]
    assert partitions(database, "numbers") == [
        ("0", "10"),
        ("10", "14"),
        ("14", "20"),
        *((str(number), str(number + 10)) for number in (20, 30, 40, 50)),
    ]


def test_the_greatest_number_says_how_far_it_has_come(database: Database) -> None:
    database.run(NUMBERS)
    database.perform(InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=2))
    assert maintain(database) == []
    database.run("insert into numbers values (68)")
    assert maintain(database) == [("created", "p70"), ("created", "p80")]


def test_changes_of_new_partitions_are_noted_for_the_way_back(database: Database) -> None:
    database.run(NUMBERS)
    database.perform(InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=1))
    rule(database, premake=3)
    maintain(database)
    database.run("insert into numbers_p70 values (77); insert into numbers values (66)")
    database.perform(UnpartitionTable("numbers"))
    assert database.rows("select id from numbers order by id") == [(5,), (15,), (25,), (47,), (66,), (77,)]


def test_what_is_old_is_detached_and_can_be_attached_again_without_being_read(database: Database) -> None:
    database.run(NUMBERS)
    database.perform(InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=1))
    rule(database, keep="20", on_expiry="detach")
    assert maintain(database) == [("detached", "p0"), ("left", "p10")]
    assert maintain(database) == [("checked", "p0"), ("detached", "p10")]
    assert maintain(database) == [("checked", "p10")]
    assert maintain(database) == []
    with database.connect() as connection:
        said: list[str] = []
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        connection.execute("set client_min_messages = debug1")
        connection.execute("alter table numbers attach partition numbers_p10 for values from (10) to (20)")
    assert any("is implied by existing constraints" in line for line in said)
    database.run("drop table numbers_p0")


@pytest.mark.parametrize("on_expiry", ["detach", "drop", "archive"])
def test_the_way_back_does_not_bring_back_what_was_taken_out(database: Database, on_expiry: str) -> None:
    database.run(NUMBERS + "; create schema old")
    database.perform(InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=1))
    rule(database, keep="20", on_expiry=on_expiry, archive_schema="old")
    database.run("call pgopt.maintain()")
    there = {"detach": "numbers_p0", "drop": None, "archive": "old.numbers_p0"}[on_expiry]
    found = database.value("select oid::regclass::text from pg_class where relname = 'numbers_p0'")
    assert found == there
    if there:
        database.run(f"insert into {there} values (7)")
        assert database.rows(f"select id from {there} order by id") == [(5,), (7,)]
    database.perform(UnpartitionTable("numbers"))
    assert database.rows("select id from numbers order by id") == [(25,), (47,)]


def test_the_last_partition_and_the_default_stay(database: Database) -> None:
    database.run("create table t (at date primary key)")
    database.perform(
        InstallPgopt(1), PartitionTable("t", Daily("at"), premake=1, default=True), FinalizePartitioning("t")
    )
    database.run(
        "do $$ declare p regclass; begin for p in select partition from pgopt.partitions_of('t') where low is not null loop"
        " execute format('drop table %s', p); end loop; end $$;"
        "create table t_old partition of t for values from ('2020-01-01') to ('2020-01-02'); insert into t values ('2020-01-01'), ('1999-01-01')"
    )
    rule(database, premake=0, keep="1 day", on_expiry="drop")
    assert maintain(database) == [("default", "pdefault"), ("skipped", "public.t_old")]
    assert database.rows("select * from t order by 1")[1][0].year == 2020


def test_a_table_that_is_being_copied_is_left_alone(database: Database) -> None:
    database.run(NUMBERS)
    database.perform(InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=1))
    database.run("update pgopt.copy set ready = false; update pgopt.partitioned set premake = 5")
    assert database.rows("select action, detail from pgopt.maintain_partitions()") == [
        ("skipped", "it is being copied, or a partition of it is")
    ]


def test_each_partition_is_taken_out_in_a_transaction_of_its_own(database: Database) -> None:
    database.run(NUMBERS + "; create table more (id int primary key); insert into more select generate_series(1, 60)")
    by = IntRange("id", step=10)
    database.perform(InstallPgopt(1), PartitionTable("numbers", by, premake=1), PartitionTable("more", by, premake=1))
    rule(database, keep="20", on_expiry="drop")
    # nobody can say when they were dropped but the server: each row of the catalog has the transaction that made it
    database.run(
        "create table seen (part text, by xid8 default pg_current_xact_id());"
        "create function see() returns event_trigger language plpgsql as $$ begin"
        " insert into public.seen select object_name from pg_event_trigger_dropped_objects() where object_type = 'table' and original; end $$;"
        "create event trigger see on sql_drop execute function see()"
    )
    database.run("call pgopt.maintain()")
    assert database.rows("select part from seen where part ~ '_p' order by part") == [
        (name,) for name in ("more_p0", "more_p10", "more_p20", "more_p30", "numbers_p0", "numbers_p10")
    ]
    # of each table one in a transaction
    assert (
        database.rows("select by from seen where part ~ '_p' group by by, split_part(part, '_', 1) having count(*) > 1")
        == []
    )
    assert maintain(database) == []


def test_a_rule_that_cannot_be_applied_does_not_keep_the_others_from_it(database: Database) -> None:
    database.run(NUMBERS)
    database.perform(InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=1))
    rule(database, keep="20", on_expiry="drop")
    with database.connect() as other:
        other.execute("begin; select from only numbers_p0")
        database.run("call pgopt.maintain()")
        assert [lower for lower, _ in partitions(database, "numbers")] == ["0", "20", "30", "40", "50"]
    database.run("call pgopt.maintain()")
    assert [lower for lower, _ in partitions(database, "numbers")] == ["20", "30", "40", "50"]


def test_somebody_who_holds_a_lock_is_not_waited_for_long(database: Database) -> None:
    database.run(NUMBERS)
    database.perform(InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=1))
    rule(database, keep="37", on_expiry="drop")
    with database.connect() as other:
        other.execute("begin; select from numbers")
        [(action, detail)] = database.rows("select action, detail from pgopt.maintain_partitions()")
    assert action == "skipped"
    assert "left for the next time" in detail
    assert maintain(database) == [("dropped", "p0")]


def test_a_partition_that_others_refer_to_stays(database: Database) -> None:
    database.run(NUMBERS)
    database.perform(
        InstallPgopt(1), PartitionTable("numbers", IntRange("id", step=10), premake=1), FinalizePartitioning("numbers")
    )
    database.run("create table r (n int references numbers); insert into r values (5)")
    rule(database, keep="30", on_expiry="drop")
    [(action, detail)] = database.rows("select action, detail from pgopt.maintain_partitions()")
    assert action == "skipped"
    assert "violates foreign key constraint" in detail


def test_a_table_that_pgopt_does_not_know_is_refused(database: Database) -> None:
    database.run("create table t (id int)")
    database.perform(InstallPgopt(1))
    with pytest.raises(psycopg.errors.RaiseException, match=r"pgopt knows no partitions of public\.t: make them with"):
        maintain(database, "t")


@pytest.mark.parametrize(
    ("key", "ranges", "by"),
    [
        (
            "at date",
            [("2026-11-16", "2026-11-23"), ("2026-11-23", "2026-11-30")],
            {"step": "7 days", "shift": "0 days"},
        ),
        (
            "at timestamptz",
            [("2026-11-01 00:00+01", "2026-12-01 00:00+01")],
            {"step": "1 month", "timezone": "Europe/Berlin"},
        ),
        ("at timestamp", [("2026-01-01", "2026-04-01"), ("2026-07-01", "2026-10-01")], {"unit": "quarter"}),
        ("at bigint", [("-500", "0"), ("0", "500"), ("5000", "5500")], {"kind": "int", "step": 500}),
    ],
    ids=["weeks", "months of a time zone", "quarters", "numbers"],
)
def test_partitions_that_others_have_made_go_on(
    database: Database, key: str, ranges: list[tuple[str, str]], by: dict[str, Any]
) -> None:
    parts = (
        f"create table t_{number} partition of t for values from ('{low}') to ('{high}');"
        for number, (low, high) in enumerate(ranges)
    )
    database.run(f"create table t ({key} primary key) partition by range (at); {''.join(parts)}")
    engine = database.engine()
    event.listen(engine, "connect", lambda connection, _: connection.execute("set timezone = 'Europe/Berlin'"))
    manage = ManagePartitions("t", premake=2)
    database.perform(InstallPgopt(1), manage, engine=engine)
    known = database.value("select by from pgopt.partitioned")
    assert known.items() >= by.items()
    made = [action for action, _ in maintain(database, "t")]
    assert made
    assert set(made) == {"created"}
    database.perform(manage.reverse(), manage.reverse(), UninstallPgopt(1))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            "(at date) partition by range (at); create table p partition of t for values from ('2026-01-01') to ('2026-01-04')",
            "are no days, weeks,",
        ),
        (
            (
                "(at int) partition by range (at); create table p partition of t for values from (0) to (5);"
                "create table q partition of t for values from (5) to (15)"
            ),
            "or equal ranges of at, in UTC or the time zone of this session: pgopt cannot tell which one comes next",
        ),
        (
            "(at int) partition by range (at); create table p partition of t for values from (3) to (13)",
            "pgopt cannot tell which one comes next",
        ),
        ("(at date) partition by range (at)", "pgopt cannot tell which one comes next"),
        (
            "(at date) partition by list (at)",
            "is not partitioned by ranges of one column: pgopt manages only those",
        ),
        ("(at date, b int) partition by range (at, b)", "is not partitioned by ranges of one column"),
        ("(at date)", "is not partitioned: make it so with"),
    ],
)
def test_what_nobody_knows_how_to_go_on_with_is_refused(database: Database, made: str, told: str) -> None:
    database.run(f"create table t {made}")
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match=told):
        database.perform(ManagePartitions("t", premake=2))
    assert database.value("select count(*) from pgopt.partitioned") == 0


# -- new tables ----------------------------------------------------------------------------------------------------------


def test_a_new_table_gets_partitions_ahead_and_is_dropped_only_when_it_is_empty(database: Database) -> None:
    create = CreatePartitionedTable("events", ["at date primary key"], Daily("at"), premake=1)
    database.perform(InstallPgopt(1), create)
    assert len(partitions(database, "events")) == 2
    database.run("insert into events values (current_date)")
    with pytest.raises(InvalidOperation, match=r"public\.events has rows, which would be lost"):
        database.perform(create.reverse())
    database.run("delete from events")
    database.perform(create.reverse())
    assert database.rows("select from pgopt.partitioned") == []


@pytest.mark.parametrize(
    ("column", "lost"),
    [(Column("at", Date, comment="when"), "the comment on at"), (Column("at", Date, index=True), "the index on at")],
)
def test_what_create_table_cannot_say_is_refused(column: Column[Any], lost: str) -> None:
    with pytest.raises(InvalidOperation, match=lost):
        CreatePartitionedTable("events", [column], Daily("at"))


def test_a_rule_that_cannot_be_applied_is_refused(database: Database) -> None:
    database.run(DAYS)
    database.perform(InstallPgopt(1), PartitionTable("days", Daily("at"), premake=1))
    for wrong, why in (
        ({"keep": "a while"}, "say an interval such as"),
        ({"keep": "-1 day"}, "say an interval such as"),
        (
            {"keep": "1 day", "on_expiry": "archive", "archive_schema": "none"},
            "there is no schema 'none' to archive to",
        ),
    ):
        with pytest.raises(InvalidOperation, match=why):
            database.perform(ManagePartitions("days", **wrong))  # type: ignore[arg-type]


# -- looking at them -----------------------------------------------------------------------------------------------------


def look(database: Database, *arguments: str, driver: str = "psycopg", folder: Path | None = None) -> tuple[int, str]:
    """Run `pgopt partitions` as a command."""
    done = subprocess.run(
        [sys.executable, "-m", "pgopt.cli.main", "partitions", *arguments],
        env={
            **os.environ,
            "DATABASE_URL": database.server.url(database.name, driver),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_partitions_are_shown_with_what_is_missing(database: Database) -> None:
    database.run(DAYS)
    database.perform(
        InstallPgopt(1), PartitionTable("days", Daily("at"), premake=2, default=True), FinalizePartitioning("days")
    )
    database.run(
        "do $$ begin execute (select format('drop table %s', partition) from pgopt.partitions_of('days') order by low offset 3 limit 1);"
        " end $$; insert into days values (1, '1999-01-01'); analyze days"
    )
    status, said = look(database, "days")
    assert status == 0
    assert "by at, 1 day each, 2 made ahead" in said
    assert "  gap: from 20" in said
    assert "  the default partition has rows that have no partition of their own" in said
    assert re.search(r"days_p\d+ +20\d\d-\d\d-\d\d to 20\d\d-\d\d-\d\d +about 1 rows +\d+ kB", said)
    assert max(map(len, said.splitlines())) <= 100
    status, said = look(database, "--json", "--warn-hours", "30")
    [found] = json.loads(said)
    assert status == 0
    assert 48 <= found["hours"] <= 72
    assert len(found["gaps"]) == 1
    assert look(database, "public.days", "--warn-hours", "100")[0] == 1
    status, said = look(database, "nothing")
    assert (status, "there is no table 'nothing'" in said) == (1, True)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_partitions_are_looked_at_without_a_project_and_with_any_driver(
    installed: Database, driver: str, tmp_path: Path
) -> None:
    said = look(installed, driver=driver, folder=tmp_path)
    assert said == (0, "pgopt knows no partitions by time or numbers here\n")


# -- time ----------------------------------------------------------------------------------------------------------------

TSTZ = "timestamp with time zone"


@pytest.fixture
def installed(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    return database


def periods(database: Database, by: Partitioning, kind: str, first: str, last: str) -> list[tuple[str, ...]]:
    said = render(literal(json.dumps(by.said(kind))))
    return database.rows(f"select * from pgopt.periods({said}, '{first}', '{last}')")


@pytest.mark.parametrize(
    ("by", "kind", "first", "last", "expected"),
    [
        (
            Monthly("at"),
            "date",
            "2026-01-31",
            "2026-03-01",
            "202601 2026-01-01 202602 2026-02-01 202603 2026-03-01 2026-04-01",
        ),
        (Daily("at"), "date", "2028-02-28", "2028-02-29", "20280228 2028-02-28 20280229 2028-02-29 2028-03-01"),
        (Daily("at"), "date", "2026-02-28", "2026-02-28", "20260228 2026-02-28 2026-03-01"),
        (Yearly("at"), "date", "2028-02-29", "2029-01-01", "2028 2028-01-01 2029 2029-01-01 2030-01-01"),
        (Quarterly("at"), "date", "2026-12-31", "2026-12-31", "2026q4 2026-10-01 2027-01-01"),
        (Weekly("at"), "date", "2027-01-01", "2027-01-01", "20261228 2026-12-28 2027-01-04"),
        (
            Weekly("at", starts_on="sunday"),
            "date",
            "2027-01-02",
            "2027-01-03",
            "20261227 2026-12-27 20270103 2027-01-03 2027-01-10",
        ),
    ],
)
def test_periods_follow_the_calendar(
    installed: Database, by: Partitioning, kind: str, first: str, last: str, expected: str
) -> None:
    found = periods(installed, by, kind, first, last)
    assert all(one[2] == other[1] for one, other in itertools.pairwise(found))
    assert " ".join([*(f"{suffix} {lower}" for suffix, lower, _ in found), found[-1][2]]) == expected


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
    ],
)
def test_days_on_which_the_clock_changes_are_shorter_or_longer(
    installed: Database, zone: str, day: str, hours: int
) -> None:
    noon = f"{day} 12:00:00 {zone}"
    [(suffix, lower, upper)] = periods(installed, Daily("at", timezone=zone), TSTZ, noon, noon)
    assert suffix == re.sub("-", "", day)
    assert installed.value(f"select ('{lower}'::timestamptz at time zone '{zone}')::text") == f"{day} 00:00:00"
    assert installed.value(f"select extract(epoch from '{upper}'::timestamptz - '{lower}')::int / 3600") == hours


@pytest.mark.parametrize(
    ("by", "value", "steps", "expected"),
    [
        (Monthly("at"), "2026-01-31", 1, "2026-02-28"),
        (Monthly("at"), "2028-01-31", 1, "2028-02-29"),
        (Yearly("at"), "2028-02-29", 1, "2029-02-28"),
        (Quarterly("at"), "2026-11-30", 1, "2027-02-28"),
        (Weekly("at"), "2026-12-28", 1, "2027-01-04"),
    ],
)
def test_later_follows_the_calendar(
    installed: Database, by: Partitioning, value: str, steps: int, expected: str
) -> None:
    said = render(literal(json.dumps(by.said("date"))))
    assert installed.value(f"select pgopt.later({said}, '{value}', {steps})") == expected


@pytest.mark.parametrize(
    ("keep", "today", "expected"),
    [
        ("1 month", "2026-03-31", "2026-02-28"),
        ("12 months", "2028-02-29", "2027-02-28"),
        ("7 days", "2026-03-02", "2026-02-23"),
    ],
)
def test_what_is_kept_follows_the_calendar(installed: Database, keep: str, today: str, expected: str) -> None:
    said = render(literal(json.dumps(Daily("at").said("date"))))
    row = f"jsonb_populate_record(null::pgopt.partitioned, jsonb_build_object('by', {said}::jsonb, 'keep', '{keep}'))"
    assert installed.value(f"select pgopt.kept_from({row}, '{today}')") == expected
