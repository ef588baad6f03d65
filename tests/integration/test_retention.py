"""Policies are applied: in batches, by partitions, to archives, exactly once, whoever is at work or is killed meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from pgopt import InvalidOperation, Monthly, Settings
from pgopt.cli import restore, retention
from pgopt.cli.worker import one_round
from pgopt.operations import (
    AlterRetentionPolicy,
    CreateArchiveTable,
    CreateIndexConcurrently,
    CreateRetentionPolicy,
    DropRetentionPolicy,
    InstallPgopt,
    PartitionTable,
    UninstallPgopt,
)
from pgopt.plan.events import Note
from pgopt.server.quoting import literal, render
from tests.contract.ledger import Writer, at_work
from tests.databases import Database, wait_until
from tests.servers import of_binaries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgopt.plan.events import Event
    from tests.servers import Server

NOW = "2024-06-15 12:00+00"
LOGS = f"""
create table logs (id int primary key, at timestamptz, what text not null default 'x');
create index logs_at on logs (at);
insert into logs select g, timestamptz '{NOW}' - g * interval '1 hour' from generate_series(1, 100) g;
"""
SLEEPING = "select count(*) from pg_stat_activity where query ~ 'apply_retention' and wait_event = 'PgSleep'"
DAY = CreateRetentionPolicy("logs", column="at", keep="1 day", batch=10)


def apply(database: Database, relation: str | None = None, clock: str = NOW) -> None:
    table = "null" if relation is None else f"{render(literal(relation))}::regclass"
    database.run(f"call pgopt.apply_retention({table}, '{clock}')")


def runs(database: Database, columns: str = "table_name, rows, error") -> list[tuple[Any, ...]]:
    return database.rows(f"select {columns} from pgopt.retention_run order by id")


def count(database: Database, table: str) -> int:
    return int(database.value(f"select count(*) from {table}"))


def cutoff(database: Database, keep: str, clock: str, *, kind: str = "timestamptz", zone: str = "UTC") -> str:
    """The cutoff that a policy has at a time of the clock."""
    database.run(f"drop table if exists clocks; create table clocks (at {kind})")
    database.run(
        "delete from pgopt.retention_policy; insert into pgopt.retention_policy (schema_name, table_name, column_name, keep, action,"
        f" timezone, batch, cascade, partly, path) values ('public', 'clocks', 'at', '{keep}', 'delete', '{zone}', 10, false, 'keep', '')"
    )
    return str(database.value(f"select pgopt.retention_cutoff(p, '{clock}') from pgopt.retention_policy p"))


# -- which rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["procedure", "command"])
def test_what_is_old_is_deleted_in_batches_and_written_down(database: Database, by: str) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    if by == "procedure":
        apply(database)
    else:
        (done,) = retention.apply(database.engine().url, clock=NOW)
        assert (done.rows, done.error, done.table) == (76, None, "public.logs")
    assert database.rows("select min(at) = timestamptz '2024-06-14 12:00+00', count(*) from logs") == [(True, 24)]
    assert runs(database, "rows, batches, cutoff, error, finished_at is not null, notes") == [
        (76, 8, "2024-06-14 12:00:00+00", None, True, [])
    ]
    apply(database)
    assert runs(database)[1] == ("logs", 0, None)


def test_rows_without_a_date_and_those_that_the_predicate_leaves_out_stay(database: Database) -> None:
    database.run(LOGS + "update logs set at = null where id = 90; update logs set what = '100%' where id > 95")
    database.perform(
        InstallPgopt(1),
        CreateRetentionPolicy("logs", column="at", keep="1 day", where="false) or (logs.what not like '100%' -- :x"),
    )
    apply(database)
    assert database.rows("select id from logs where id > 24 order by 1") == [(90,), *((n,) for n in range(96, 101))]


def test_a_predicate_is_read_with_the_search_path_with_which_it_was_written(database: Database) -> None:
    database.run(
        LOGS
        + "create schema app; create table app.holds (id int); insert into app.holds values (30), (40);"
        + f'alter database "{database.name}" set search_path = app, public'
    )
    policy = CreateRetentionPolicy(
        "logs", column="at", keep="1 day", where="not exists (select from holds where holds.id = logs.id)"
    )
    database.perform(InstallPgopt(1), policy)
    database.run(f'alter database "{database.name}" reset search_path')
    apply(database, "public.logs")
    assert database.rows("select id from logs where id > 24 order by 1") == [(30,), (40,)]


@pytest.mark.parametrize(
    ("keep", "clock", "zone", "expected"),
    [
        ("1 month", "2023-03-31 10:00+00", "UTC", "2023-02-28 10:00:00+00"),
        ("1 month", "2024-03-31 10:00+00", "UTC", "2024-02-29 10:00:00+00"),
        ("1 year", "2024-02-29 00:00+00", "UTC", "2023-02-28 00:00:00+00"),
        ("12 months", "2025-02-28 23:59:59.999999+00", "UTC", "2024-02-28 23:59:59.999999+00"),
        # the hour that is not there, and the one that is there twice
        ("1 day", "2024-04-01 02:30+02", "Europe/Berlin", "2024-03-31 01:30:00+00"),
        ("1 month", "2024-04-30 12:00+02", "Europe/Berlin", "2024-03-30 11:00:00+00"),
        ("24 hours", "2024-03-31 12:00+02", "Europe/Berlin", "2024-03-30 10:00:00+00"),
        ("1 day", "2024-03-31 12:00+02", "Europe/Berlin", "2024-03-30 11:00:00+00"),
        ("1 day", "2024-10-28 02:30+01", "Europe/Berlin", "2024-10-27 01:30:00+00"),
        # a month ends elsewhere at another time
        ("1 month", "2024-03-30 23:30+00", "Asia/Tokyo", "2024-02-28 23:30:00+00"),
    ],
)
def test_months_and_days_are_those_of_the_calendar(
    database: Database, keep: str, clock: str, zone: str, expected: str
) -> None:
    database.perform(InstallPgopt(1))
    assert cutoff(database, keep, clock, zone=zone) == expected


def test_dates_and_times_without_a_zone_are_those_of_the_policys_zone(database: Database) -> None:
    database.perform(InstallPgopt(1))
    clock = "2024-03-31 23:30+00"
    assert cutoff(database, "1 day", clock, kind="date") == "2024-03-30"
    assert cutoff(database, "1 day", clock, kind="date", zone="Asia/Tokyo") == "2024-03-31"
    assert cutoff(database, "1 day", clock, kind="timestamp", zone="Asia/Tokyo") == "2024-03-31 08:30:00"
    assert cutoff(database, "1 month", clock, kind="date", zone="Europe/Berlin") == "2024-03-01"


def test_the_clock_stands_still_during_a_run(database: Database) -> None:
    database.run(LOGS + "create table others (at timestamptz); insert into others select at from logs")
    database.perform(InstallPgopt(1), DAY, CreateRetentionPolicy("others", column="at", keep="2 days"))
    database.run("call pgopt.apply_retention()")
    assert len({clock for (clock,) in runs(database, "clock")}) == 1
    assert database.value("select count(distinct cutoff) from pgopt.retention_run") == 2


# -- how -----------------------------------------------------------------------------------------------------------------


def test_without_an_index_it_goes_by_pages_and_says_which_index_is_missing(database: Database) -> None:
    database.run(LOGS + "drop index logs_at")
    told = database.perform(InstallPgopt(1), DAY)
    note = (
        'no index of public.logs begins with at: op.create_index_concurrently("ix_logs_at", "logs", ["at"], schema="public"),'
        " or all of it is read each time"
    )
    assert note in notes(told)
    apply(database)
    assert runs(database, "rows, notes") == [(76, [note])]
    database.run(
        f"insert into logs select g, '{NOW}'::timestamptz - interval '1 year' from generate_series(201, 230) g"
    )
    database.perform(CreateIndexConcurrently("ix_logs_at", "logs", ["at"], schema="public"))
    apply(database)
    assert runs(database, "rows, notes")[1:] == [(30, [])]


def test_rows_that_another_index_finds_in_another_order_are_all_found(database: Database) -> None:
    database.run(
        "create table events (kind int, at timestamptz, filler text); create index on events (kind);"
        f"insert into events select (7919 * g) % 1000, timestamptz '{NOW}' - interval '9 days', repeat('x', 100) from generate_series(1, 5000) g;"
        "create table events_archive (like events); analyze events"
    )
    policy = CreateRetentionPolicy(
        "events", column="at", keep="1 day", where="kind < 100", action="archive", archive_to="events_archive", batch=50
    )
    database.perform(InstallPgopt(1), policy)
    apply(database)
    assert (count(database, "events"), count(database, "events_archive")) == (4500, 500)
    database.run(
        "create index on events_archive (kind); analyze events_archive; update pgopt.retention_policy set hold = 'x'"
    )
    assert restore.run(
        database.engine().url, "events", "kind < 90", settings=Settings(batch_rows=20, batch_most=20)
    ) == (450, None)


def test_the_history_may_have_a_policy_of_its_own(database: Database) -> None:
    policy = CreateRetentionPolicy("retention_run", column="started_at", keep="90 days", schema="pgopt")
    database.perform(InstallPgopt(1), policy)
    apply(database, clock="now")
    database.run("update pgopt.retention_run set started_at = now() - interval '91 days'")
    apply(database, clock="now")
    assert runs(database) == [("retention_run", 1, None)]


def test_a_partial_index_will_do_where_the_predicate_implies_it(database: Database) -> None:
    database.run(LOGS + "drop index logs_at; create index on logs (at) where what = 'x'")
    told = database.perform(
        InstallPgopt(1), CreateRetentionPolicy("logs", column="at", keep="1 day", where="what = 'x'")
    )
    assert notes(told) == []


def test_all_rows_of_one_time_are_deleted_in_batches(database: Database) -> None:
    database.run("create table days (id int, day date); create index on days (day)")
    database.run("insert into days select g, '2024-01-01' from generate_series(1, 95) g")
    database.perform(InstallPgopt(1), CreateRetentionPolicy("days", column="day", keep="1 day", batch=10))
    apply(database)
    assert runs(database, "rows, batches") == [(95, 10)]


def test_rows_that_others_hold_are_left_for_the_next_time(database: Database) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    with database.connect() as holder, holder.transaction():
        holder.execute("update logs set what = 'held' where id in (50, 99)")
        apply(database)
        assert database.rows("select id from logs where id > 24 order by 1") == [(50,), (99,)]
    apply(database)
    assert [rows for (rows,) in runs(database, "rows")] == [74, 2]


def test_a_trigger_that_keeps_rows_ends_the_run(database: Database) -> None:
    database.run(
        LOGS
        + "update logs set at = '2020-01-01' where id > 50;"
        + "create function never() returns trigger language plpgsql as 'begin return null; end';"
        + "create trigger t before delete on logs for each row execute function never()"
    )
    database.perform(InstallPgopt(1), DAY)
    with pytest.raises(psycopg.errors.RaiseException, match=r"^public.logs: rows of public.logs are still there"):
        apply(database)
    assert runs(database) == [
        ("logs", 0, "rows of public.logs are still there after their DELETE: look at its triggers")
    ]
    assert count(database, "logs") == 100


def test_statement_triggers_of_a_partitioned_table_see_what_goes(database: Database) -> None:
    database.run(
        "create table parts (id int, at date, primary key (id, at)) partition by range (at);"
        "create table parts_1 partition of parts for values from ('2024-01-01') to ('2024-02-01');"
        "create table parts_2 (at date not null, id int not null, primary key (id, at));"
        "alter table parts attach partition parts_2 for values from ('2024-02-01') to ('2024-03-01');"
        "create index on parts (at); create table gone (id int);"
        "create function note() returns trigger language plpgsql as 'begin insert into gone select id from old; return null; end';"
        "create trigger t after delete on parts referencing old table as old for each statement execute function note();"
        "insert into parts select g, '2024-01-01'::date + g % 59 from generate_series(1, 200) g"
    )
    database.perform(InstallPgopt(1), CreateRetentionPolicy("parts", column="at", keep="1 day", batch=7))
    apply(database, clock="2024-02-15 00:00+00")
    assert database.rows("select min(at)::text from parts") == [("2024-02-14",)]
    assert count(database, "gone") + count(database, "parts") == 200
    assert runs(database) == [("parts", count(database, "gone"), None)]


def test_the_procedure_waits_for_a_standby_whose_replay_stands_still(server: Server) -> None:
    bindir = Path(server.bindir)
    with of_binaries(bindir) as primary, of_binaries(bindir, standby_of=primary) as standby:
        here, there = Database(primary, "postgres"), Database(standby, "postgres")
        here.run(
            LOGS
            + f"insert into logs select g, timestamptz '{NOW}' - interval '1 year' from generate_series(201, 3200) g"
        )
        here.perform(InstallPgopt(1), replace(DAY, batch=1))
        here.run("alter database postgres set pgopt.replication_lag = '100ms'")
        wait_until("the standby has the policy", lambda: there.value("select to_regclass('pgopt.retention_policy')"))
        there.run("select pg_wal_replay_pause()")
        with ThreadPoolExecutor(1) as threads:
            working = threads.submit(apply, here)
            wait_until("it waits", lambda: here.value(SLEEPING))
            assert 24 < count(here, "logs") < 3100
            there.run("select pg_wal_replay_resume()")
            working.result()
        assert runs(here) == [("logs", 3076, None)]


# -- what stands against it ----------------------------------------------------------------------------------------------

FAMILY = """
create table parents (id int primary key, at date not null); create index on parents (at);
create table children (id int primary key, parent int references parents ON_DELETE, at date not null);
insert into parents select g, date '2024-06-15' - g from generate_series(1, 50) g;
insert into children select g, g, date '2024-06-15' - g + 10 from generate_series(1, 50) g;
"""
INDEX_OF_CHILDREN = "create index ix_children_parent on children (parent)"
PARENTS = CreateRetentionPolicy("parents", column="at", keep="10 days", batch=3)


def test_what_others_refer_to_by_operators_of_another_schema_stays(database: Database) -> None:
    database.run(
        "create schema ext; create extension citext schema ext;"
        " create table parents (name ext.citext primary key, at date not null);"
        " create table children (id int primary key, parent ext.citext references parents, at date not null);"
        " insert into parents values ('A', '2024-01-01'), ('B', '2024-01-01');"
        " insert into children values (1, 'a', '2024-06-14')"
    )
    database.perform(InstallPgopt(1), CreateRetentionPolicy("children", column="at", keep="10 days"), PARENTS)
    apply(database)
    assert runs(database) == [("children", 0, None), ("parents", 1, None)]
    assert database.rows("select name::text from parents") == [("A",)]


def test_incoming_foreign_keys_are_refused_with_the_list(database: Database) -> None:
    database.run(
        FAMILY.replace("ON_DELETE", "") + "create table pets (owner int references parents on delete set null)"
    )
    database.perform(InstallPgopt(1))
    with pytest.raises(
        InvalidOperation, match=r"children refers to it by .*rows of public.pets, too: say cascade=True"
    ):
        database.perform(PARENTS)
    assert count(database, "pgopt.retention_policy") == 0


def test_children_come_first_and_parents_stay_as_long_as_they_have_some(database: Database) -> None:
    database.run(FAMILY.replace("ON_DELETE", ""))
    database.perform(InstallPgopt(1), CreateRetentionPolicy("children", column="at", keep="10 days"), PARENTS)
    apply(database)
    assert [table for table, *_ in runs(database)] == ["children", "parents"]
    assert runs(database, "error") == [(None,), (None,)]
    # of a child that is ten days younger than its parent
    assert database.rows("select max(date '2024-06-15' - at) from children") == [(10,)]
    assert database.rows("select max(date '2024-06-15' - at) from parents") == [(20,)]
    assert database.value("select count(*) from children where parent not in (select id from parents)") == 0


def test_children_that_come_meanwhile_keep_their_parents(database: Database) -> None:
    database.run(FAMILY.replace("ON_DELETE", "") + "truncate children; create sequence numbers start 1000")
    children = CreateRetentionPolicy("children", column="at", keep="100 days")
    told = database.perform(InstallPgopt(1), children, PARENTS)
    assert 'op.create_index_concurrently("ix_children_parent", "children", ["parent"], schema="public")' in str(
        notes(told)
    )
    database.run(
        f"insert into parents select g, date '2020-01-01' from generate_series(100, 3000) g; {INDEX_OF_CHILDREN}"
    )
    kept: set[int] = set()

    def refer(connection: psycopg.Connection[Any], turn: int) -> None:
        """Refer to a parent that may be deleted at any moment."""
        try:
            connection.execute(f"insert into children select nextval('numbers'), {100 + turn}, date '2024-06-15'")
            kept.add(100 + turn)
        except psycopg.errors.ForeignKeyViolation:
            pass

    with at_work([Writer(database, refer)]):
        apply(database)
    assert runs(database, "error") == [(None,), (None,)]
    assert {
        parent for (parent,) in database.rows("select parent from children join parents p on p.id = parent")
    } == kept


def test_cascading_must_be_said(database: Database) -> None:
    database.run(FAMILY.replace("ON_DELETE", "on delete cascade"))
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match=r"would, by children_parent_fkey, delete rows of public.children, too"):
        database.perform(PARENTS)
    database.perform(CreateRetentionPolicy("parents", column="at", keep="10 days", cascade=True))
    apply(database)
    assert count(database, "parents") == count(database, "children") == 10


def test_a_key_that_came_later_stops_it_when_it_runs(database: Database) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    database.run("create table later (id int references logs on delete cascade)")
    with pytest.raises(psycopg.errors.RaiseException, match="say cascade=True"):
        apply(database)
    assert count(database, "logs") == 100


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"column": "what"}, "column what is text: choose one of type date, timestamp or timestamptz"),
        ({"column": "no"}, "it has no column no"),
        ({"keep": "soon"}, "invalid input syntax for type interval"),
        ({"keep": "-1 day"}, "is no interval above zero"),
        ({"keep": "0"}, "is no interval above zero"),
        ({"timezone": "Mars/Olympus"}, 'time zone "Mars/Olympus" not recognized'),
        ({"where": "whta = 1"}, 'column "whta" does not exist'),
        (
            {"action": "archive", "archive_to": "cold"},
            "there is no table public.cold to archive to: make it with op.create_archive_table",
        ),
        ({"action": "archive", "archive_to": "logs"}, "it cannot be its own archive"),
        (
            {"action": "archive", "archive_to": "narrow"},
            "column id is integer in public.logs and bigint in public.narrow.*has a column what that public.narrow has not",
        ),
        ({"action": "drop_partition"}, "pgopt knows no partitions of it"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(
    database: Database, arguments: dict[str, Any], sentence: str
) -> None:
    database.run(LOGS + "create table narrow (id bigint, at timestamptz)")
    database.perform(InstallPgopt(1))
    operation = CreateRetentionPolicy("logs", **{"column": "at", "keep": "1 day", **arguments})
    with pytest.raises(InvalidOperation, match=sentence):
        database.perform(operation)
    with pytest.raises(AssertionError, match=sentence):
        database.psql(database.script(operation))
    assert count(database, "pgopt.retention_policy") == 0


def test_another_policy_is_not_taken_for_the_same(database: Database) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    with pytest.raises(InvalidOperation, match="another retention policy, with keep = '1 day'"):
        database.perform(CreateRetentionPolicy("logs", column="at", keep="2 days", batch=10))


def test_pgopt_is_not_uninstalled_while_it_has_policies(database: Database) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    with pytest.raises(InvalidOperation, match=r"how long the rows of public.logs are kept: drop these policies first"):
        database.perform(UninstallPgopt(1))


def test_one_that_cannot_be_applied_keeps_no_other_from_it(database: Database) -> None:
    database.run(LOGS + "create table a (at date)")
    database.perform(InstallPgopt(1), CreateRetentionPolicy("a", column="at", keep="1 day"), DAY)
    database.run("alter table a rename at to day")
    with pytest.raises(psycopg.errors.RaiseException, match=r"^public.a: it has no column at\n"):
        apply(database)
    assert runs(database) == [("a", 0, "it has no column at"), ("logs", 76, None)]


# -- who does it ---------------------------------------------------------------------------------------------------------


def test_the_owner_of_the_tables_need_not_be_a_superuser(database: Database) -> None:
    database.run(f'''create role "Own er" login; grant create on database "{database.name}" to "Own er"''')
    try:
        database.run('create schema "S x" authorization "Own er"; set role "Own er"; set search_path = "S x"; ' + LOGS)
        url = database.engine().url.set(username="Own er", password=None)
        engine = create_engine(url, poolclass=NullPool)
        policy = CreateRetentionPolicy("logs", column="at", keep="1 day", schema="S x", batch=10)
        database.perform(InstallPgopt(1), CreateArchiveTable("logs", schema="S x"), policy, engine=engine)
        (done,) = retention.apply(url, clock=NOW)
        assert (done.rows, done.error) == (76, None)
        database.run("create role stranger")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.run("set role stranger; call pgopt.apply_retention()")
    finally:
        database.run(
            'drop schema "S x" cascade; drop schema pgopt cascade; drop owned by "Own er"; drop role "Own er"; drop role if exists stranger'
        )


def test_a_job_applies_it_and_fails_with_it(database: Database) -> None:
    database.run('create schema "S x"; set search_path = "S x"; ' + LOGS)
    policy = CreateRetentionPolicy("logs", column="at", keep="1 day", schedule="every 6 hours", schema="S x")
    database.perform(InstallPgopt(1), policy)
    for error in (None, "it has no column at"):
        database.run("update pgopt.job set next_due = clock_timestamp(), retry_at = null")
        assert one_round(database.engine().url) == (error is not None)
        assert runs(database, "rows, error")[-1] == (0 if error else 100, error)
        if error is None:
            database.run('alter table "S x".logs rename at to moment')
    database.perform(policy.reverse())
    assert count(database, "pgopt.job") == 0


# -- operators -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pause", ["enabled = false", "hold = 'lawsuit'", "hold = 'lawsuit', hold_until = now() + interval '1 h'"]
)
def test_an_operator_can_pause_a_policy(database: Database, pause: str) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    database.run(f"update pgopt.retention_policy set {pause}")
    apply(database)
    (done,) = retention.apply(database.engine().url, clock=NOW)
    assert done.paused in ("not enabled", "held: lawsuit") or str(done.paused).startswith("held until ")
    assert (count(database, "logs"), runs(database)) == (100, [])
    database.run("update pgopt.retention_policy set enabled = true, hold_until = now()")
    apply(database)
    assert count(database, "logs") == (100 if pause == "hold = 'lawsuit'" and held(database) else 24)


def held(database: Database) -> bool:
    return bool(database.value("select pgopt.retention_paused(p) is not null from pgopt.retention_policy p"))


def test_what_an_operator_has_set_outlives_alterations(database: Database) -> None:
    database.run(LOGS)
    altered = AlterRetentionPolicy("logs", keep="3 days", where="what = 'x'")
    database.perform(InstallPgopt(1), DAY)
    database.run("update pgopt.retention_policy set hold = 'audit', enabled = false")
    before = database.rows("select * from pgopt.retention_policy")
    database.perform(altered)
    assert database.rows("select keep, hold, enabled from pgopt.retention_policy") == [("3 days", "audit", False)]
    database.perform(altered.reverse())
    assert database.rows("select * from pgopt.retention_policy") == before
    drop = DropRetentionPolicy("logs", column="at", keep="1 day", batch=10)
    database.perform(drop, drop.reverse())
    assert database.rows("select keep, hold, enabled from pgopt.retention_policy") == [("1 day", "audit", False)]


def test_a_hold_stops_a_run_that_is_at_work(database: Database) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    run = database.value(f"select pgopt.retention_begin('logs', '{NOW}')")
    assert database.rows(f"select * from pgopt.retention_batch({run}, 5)") == [(5, False)]
    database.run("update pgopt.retention_policy set hold = 'wait'")
    assert database.rows(f"select * from pgopt.retention_batch({run}, 5)") == [(0, True)]
    assert runs(database, "rows, notes, error") == [(5, ["stopped before its end: held: wait"], None)]


def test_a_change_of_the_policy_stops_a_run_that_is_at_work(database: Database) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    run = database.value(f"select pgopt.retention_begin('logs', '{NOW}')")
    database.perform(AlterRetentionPolicy("logs", keep="1 year"))
    assert database.rows(f"select * from pgopt.retention_batch({run}, 5)") == [(0, True)]
    assert count(database, "logs") == 100


LOST = "there is no such table: delete its policy from pgopt.retention_policy, or write its new name there"


# -- looking before ------------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_and_changes_nothing(database: Database) -> None:
    database.run(LOGS + "analyze logs")
    database.perform(InstallPgopt(1), DAY)
    (found,) = retention.preview(database.engine().url, clock=NOW)
    assert (found.rows, found.first, found.last) == (76, "2024-06-11 08:00:00+00", "2024-06-14 11:00:00+00")
    total = database.value("select pg_total_relation_size('logs')")
    assert found.bytes == round(total * 0.76)
    assert (count(database, "logs"), runs(database)) == (100, [])
    lines = list(retention.text([found]))
    assert lines[0].startswith(
        "public.logs: 76 rows to delete, older than 2024-06-14 12:00:00+00, from 2024-06-11 08:00:00+00 to"
    )


def test_a_dry_run_says_what_stands_against_it(database: Database) -> None:
    database.run(LOGS)
    database.perform(InstallPgopt(1), DAY)
    database.run("alter table logs rename at to moment")
    (found,) = retention.preview(database.engine().url)
    assert found.faults == ["it has no column at"]
    database.run("alter table logs rename to others")
    (found,) = retention.preview(database.engine().url)
    assert (found.table, found.faults) == ("public.logs", [LOST])
    (done,) = retention.apply(database.engine().url)
    assert (done.table, done.error) == ("public.logs", LOST)
    with pytest.raises(psycopg.errors.RaiseException, match="public.logs: " + LOST):
        apply(database)
    assert list(retention.text([found, done])) == [f"public.logs: cannot be applied: {LOST}"] * 2


# -- partitions ----------------------------------------------------------------------------------------------------------

MONTHS = """
create table months (id int, at date not null, primary key (id, at));
create index on months (at);
insert into months select g, date '2024-06-15' - g from generate_series(0, 150) g;
"""


@pytest.mark.parametrize("partly", ["keep", "delete"])
@pytest.mark.parametrize("by", ["procedure", "command"])
def test_whole_partitions_are_dropped(database: Database, partly: Any, by: str) -> None:
    database.run(MONTHS)
    policy = CreateRetentionPolicy("months", column="at", keep="2 months", action="drop_partition", partly=partly)
    database.perform(InstallPgopt(1), PartitionTable("months", Monthly("at")), policy)
    (found,) = retention.preview(database.engine().url, clock=NOW)
    gone = ["public.months_p202401", "public.months_p202402", "public.months_p202403"]
    assert found.partitions == gone
    before = count(database, "months")
    if by == "procedure":
        apply(database)
    else:
        (done,) = retention.apply(database.engine().url, clock=NOW)
        assert (done.partitions, done.error) == (3, None)
    assert database.rows("select min(at)::text from months") == [("2024-04-01" if partly == "keep" else "2024-04-15",)]
    assert runs(database, "partitions, rows, error") == [(3, 0 if partly == "keep" else 14, None)]
    assert found.rows == before - count(database, "months")
    assert database.value("select count(*) from pg_class where relname ~ 'months_p20240[123]$'") == 0


def test_a_partition_that_somebody_uses_is_left_for_the_next_time(database: Database) -> None:
    database.run(MONTHS)
    policy = CreateRetentionPolicy("months", column="at", keep="2 months", action="drop_partition")
    database.perform(InstallPgopt(1), PartitionTable("months", Monthly("at")), policy)
    with database.connect() as reader, reader.transaction():
        reader.execute("select from months_p202401")
        apply(database)
    ((parts, said),) = runs(database, "partitions, notes")
    assert parts == 2
    assert said[0].startswith("public.months_p202401 stays: ")
    apply(database)
    assert runs(database, "partitions")[1:] == [(1,)]


def test_partitions_that_are_kept_by_another_rule_are_refused(database: Database) -> None:
    database.run(MONTHS)
    database.perform(InstallPgopt(1), PartitionTable("months", Monthly("at")))
    database.run("update pgopt.partitioned set keep = '1 year', on_expiry = 'detach'")
    with pytest.raises(
        InvalidOperation, match=r"op.manage_partitions keeps its partitions for 1 year.*where= cannot be heeded"
    ):
        database.perform(
            CreateRetentionPolicy("months", column="at", keep="2 months", where="id > 1", action="drop_partition")
        )


def test_a_policy_stays_when_its_table_becomes_partitioned(database: Database) -> None:
    database.run(MONTHS)
    partition = PartitionTable("months", Monthly("at"))
    database.perform(InstallPgopt(1), CreateRetentionPolicy("months", column="at", keep="2 months"), partition)
    apply(database)
    assert runs(database) == [("months", 89, None)]
    assert database.rows("select count(*), min(at)::text from months") == [(62, "2024-04-15")]
    database.perform(partition.reverse())
    assert count(database, "months") == 62


def notes(told: Sequence[Event]) -> list[str]:
    return [event.text for event in told if isinstance(event, Note)]
