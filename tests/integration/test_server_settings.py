"""What a role or a database has set changes nothing of what operations do; nor does whose a thing is, without a word."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pgopt import InvalidOperation, Monthly, StatementFailed
from pgopt.operations import (
    Backfill,
    CreateIndexConcurrently,
    CreateMaterializedView,
    CreateStatistics,
    InstallMonitoring,
    InstallPgopt,
    InstallSnapshots,
    ManagePartitions,
    PartitionTable,
    ScheduleJob,
    SetStorageParameters,
)
from tests.contract.ledger import Writer, at_work
from tests.databases import PATIENT, Database

if TYPE_CHECKING:
    import psycopg


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_no_row_is_lost_at_another_isolation_level(database: Database, isolation: str) -> None:
    database.run(
        "create table t (id bigint generated always as identity, at timestamptz not null, x text, primary key (id, at));"
        " insert into t (at, x) select now() - g * interval '1 minute', 'a' from generate_series(1, 3000) g"
    )
    database.perform(InstallPgopt(1))
    database.run(f"alter database \"{database.name}\" set default_transaction_isolation = '{isolation}'")
    numbers = itertools.count()
    written: list[str] = []

    def write(connection: psycopg.Connection[Any], _: int) -> None:
        # commits while the swap waits for it
        connection.execute("begin isolation level read committed")
        name = f"w{next(numbers)}"
        connection.execute("insert into t (at, x) values (now(), %s)", [name])
        connection.execute("select pg_sleep(0.03)")
        connection.execute("commit")
        written.append(name)

    operation = PartitionTable("t", Monthly("at"))
    with at_work([Writer(database, write) for _ in range(4)]) as more:
        for each in (operation, operation.reverse()):
            database.perform(each, settings=PATIENT)
            more()
    assert {x for (x,) in database.rows("select x from t where x <> 'a'")} == set(written)
    assert database.value("select count(*) from t where x = 'a'") == 3000


def test_dates_and_numbers_are_read_as_the_application_reads_them(database: Database) -> None:
    database.run(
        "create table t (id int primary key, born text, day date, said text); insert into t values (1, '03/04/2020');"
        " create table f (f float8 primary key, n int); insert into f select g / 3.0 from generate_series(1, 1000) g"
    )
    database.run(f"alter database \"{database.name}\" set datestyle = 'SQL, DMY'")
    database.run(f'alter database "{database.name}" set extra_float_digits = 0')
    database.perform(
        InstallPgopt(1), Backfill("t", {"day": "born::date", "said": "born::date::text"}), Backfill("f", {"n": "1"})
    )
    assert database.rows("select to_char(day, 'YYYY-MM-DD'), said from t") == [("2020-04-03", "03/04/2020")]
    assert database.value("select count(*) from f where n is null") == 0


def test_what_would_come_back_as_somebody_else_s_is_not_dropped(database: Database) -> None:
    database.run('create table t (a int, b int); create role "Own er"; create role reader')
    statistics = CreateStatistics("st", "t", ["a", "b"])
    view = CreateMaterializedView("v", "select a from t")
    database.perform(InstallPgopt(1), statistics, view)
    try:
        database.run('alter statistics st owner to "Own er"; alter materialized view v owner to "Own er"')
        with pytest.raises(InvalidOperation, match=r"st of public\.t belong to Own er, and would come back as yours"):
            database.perform(statistics.reverse())
        with pytest.raises(InvalidOperation, match=r"public\.v has the owner 'Own er', which would not come back"):
            database.perform(view.reverse())
        database.run(
            "alter statistics st owner to postgres; alter materialized view v owner to postgres; grant select on v to reader"
        )
        with pytest.raises(
            InvalidOperation, match=r"public\.v has the grants '.*reader=r/postgres.*', which would not come back"
        ):
            database.perform(view.reverse())
        database.run("revoke select on v from reader")
        database.perform(statistics.reverse(), view.reverse())
    finally:
        database.run('drop owned by "Own er", reader cascade; drop role "Own er", reader')


def test_who_may_not_use_a_type_is_told_what_to_grant(database: Database) -> None:
    database.run(
        'create role "Mig rator" login; grant create, temporary on database "' + database.name + '" to "Mig rator"'
    )
    try:
        database.run(
            """create schema "T y"; create type "T y".mood as enum ('a'); create table t (a int, m "T y".mood);"""
            """ alter table t owner to "Mig rator"; grant create on schema public to "Mig rator";"""
            """ grant usage on schema "T y" to "Mig rator"; revoke usage on type "T y".mood from public"""
        )
        theirs = Database(replace(database.server, user="Mig rator"), database.name)
        index = CreateIndexConcurrently("ix", "t", ["m", "(a + 1)"])
        told = re.escape("""let its owner say `grant usage on type "T y".mood to "Mig rator"`""")
        with pytest.raises(StatementFailed, match=told):
            theirs.perform(index, index.reverse())
        database.run('grant usage on type "T y".mood to "Mig rator"')
        theirs.perform(index, index.reverse())
    finally:
        database.run('drop owned by "Mig rator" cascade; drop role "Mig rator"')


@pytest.mark.parametrize("method", ["copy", "attach"])
def test_backslashes_are_read_as_the_standard_says(database: Database, method: Literal["copy", "attach"]) -> None:
    database.run(f'alter database "{database.name}" set standard_conforming_strings = off')
    database.run(
        "create extension pg_stat_statements; create table t (id int, at date not null, note text, primary key (id, at));"
        " create index on t (note) with (fillfactor = 70) where note <> 'x';"
        " insert into t select g, date '2026-06-01' + g % 150, 'note ' || g from generate_series(1, 300) g;"
        " create function f() returns int language plpgsql as 'declare two t; begin return 1; end'"
    )
    before, rows = database.dump(), database.contents()
    operations = (
        InstallSnapshots(),
        InstallMonitoring(),
        SetStorageParameters("t", {"fillfactor": 70, "toast.autovacuum_enabled": False}),
        ScheduleJob("nightly", "select 1", cron="*/5 3-4 * jan,feb mon"),
        CreateMaterializedView("per_day", "select at, count(*) as n from t group by at", depends_on=["t"]),
        PartitionTable("t", Monthly("at"), method=method, premake=1),
        ManagePartitions("t", premake=7),
    )
    database.perform(InstallPgopt(1), *operations)
    assert (
        database.value("select to_char(pgopt.cron_next('10 4 * * 1', 'UTC', '2026-06-03'), 'MM-DD HH24:MI')")
        == "06-08 04:10"
    )
    assert database.value("select count(*) from pgopt.maintain_partitions('t') where action = 'created'")
    database.run("select pgopt.take_snapshot()")
    assert database.value("select ends from pgopt.partition_headroom")
    assert database.contents().items() >= rows.items()
    database.perform(*(each.reverse() for each in reversed(operations)))
    assert database.contents() == rows
    assert database.dump() == before


def test_each_routine_says_where_it_finds_what_it_names(database: Database) -> None:
    database.perform(InstallPgopt(1), InstallMonitoring())
    without = database.rows(
        "select proname::text, prokind::text from pg_proc where pronamespace = 'pgopt'::regnamespace"
        " and not exists (select from unnest(proconfig) c where c ~ '^search_path=') order by 1"
    )
    # a procedure that commits cannot have settings of its own: all in it is qualified
    committing = [(name, "p") for name in ("apply_retention", "fold", "maintain", "refresh_all")]
    # the path of the session is what this one is asked for
    assert without == [*committing, ("written_path", "f")]


def test_no_search_path_deceives_a_refresh_of_all_views(database: Database) -> None:
    database.run("create table t (a int); insert into t values (1)")
    database.perform(InstallPgopt(1), CreateMaterializedView("v", "select a from t", depends_on=["t"]))
    database.run(
        """
        insert into t values (2);
        create schema evil;
        create function evil.always(text, text) returns boolean language sql as 'select true';
        create operator evil.= (leftarg = text, rightarg = text, function = evil.always);
        create domain evil.text as int;
        """
    )
    database.run(f'alter database "{database.name}" set search_path = evil, pg_catalog, public')
    with database.connect() as connection:
        connection.execute("call pgopt.refresh_all()")
    assert database.value("select count(*) from public.v") == 2
