"""Each view finds what it must and leaves out what it must not, for a role that has pg_monitor and nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgopt import InvalidOperation, Monthly, NotInstalled, StatementFailed
from pgopt.monitoring import ALL_VIEWS
from pgopt.operations import InstallMonitoring, InstallPgopt, PartitionTable, UninstallMonitoring, UninstallPgopt
from tests.databases import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Database

WATCHER = "pgopt_watcher"
READER = """"pgopt %s :x $pgopt$ $$ ' \\ "" end; create table public.injected (); --\""""


@pytest.fixture
def watched(database: Database) -> Iterator[Database]:
    """A database with the views, and a role that may do nothing but watch."""
    database.perform(InstallPgopt(1), InstallMonitoring())
    database.run(f"drop role if exists {WATCHER}; create role {WATCHER} login; grant pg_monitor to {WATCHER}")
    yield database
    database.run(f"drop role {WATCHER}")


def seen(watched: Database, view: str, *, setup: str = "") -> list[dict[str, Any]]:
    """What the watcher reads in a view."""
    dsn = watched.server.dsn(watched.name)
    with psycopg.connect(dsn, user=WATCHER, autocommit=True, row_factory=dict_row) as connection:
        if setup:
            connection.execute(setup)
        return connection.execute(f"select * from pgopt.{view}").fetchall()


def of(watched: Database, view: str, column: str) -> list[Any]:
    """One column of it."""
    return [row[column] for row in seen(watched, view)]


@contextmanager
def busy(watched: Database, *statements: str, wait: bool = True) -> Iterator[psycopg.Connection[Any]]:
    """A session in a transaction; the last statement may be one that waits."""
    from threading import Thread

    with watched.connect() as connection:
        connection.execute("begin")
        *first, last = statements
        for statement in first:
            connection.execute(statement)
        if wait:
            connection.execute(last)
            yield connection
            connection.rollback()
            return
        thread = Thread(target=lambda: connection.execute(last))
        thread.start()
        pid = connection.info.backend_pid
        wait_until(
            "a lock that is waited for",
            lambda: watched.value(f"select true from pg_locks where pid = {pid} and waitstart is not null"),
        )
        yield connection
        thread.join()
        connection.rollback()


@pytest.mark.parametrize("view", ALL_VIEWS)
def test_an_empty_database_shows_no_fault(watched: Database, view: str) -> None:
    rows = seen(watched, view)
    if view not in ("cache_hit", "connections", "vacuum_state", "table_sizes"):
        assert rows == []


def test_nobody_else_reads_them(watched: Database) -> None:
    watched.run(f"revoke pg_monitor from {WATCHER}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seen(watched, "table_sizes")


def test_they_need_the_schema_and_it_stays_while_they_are_there(database: Database) -> None:
    with pytest.raises(NotInstalled, match="install_pgopt"):
        database.perform(InstallMonitoring())
    database.perform(InstallPgopt(1), InstallMonitoring())
    with pytest.raises(InvalidOperation, match="uninstall_monitoring"):
        database.perform(UninstallPgopt(1))


# -- indexes -------------------------------------------------------------------------------------------------------------


def test_unused_indexes_keep_no_rows_unique_and_are_counted_over_partitions(watched: Database) -> None:
    watched.run("""
        create extension btree_gist;
        create table t (id int primary key, a int unique, b int, c int, exclude using gist (b with =));
        insert into t select n, n, n, n from generate_series(1, 1000) n;
        create index unused on t (b); create index used on t (c); create unique index keeps on t (b, c);
        create table "Log" (at date, kind int) partition by range (at);
        create table log_1 partition of "Log" for values from ('2026-01-01') to ('2026-02-01');
        create table log_2 partition of "Log" for values from ('2026-02-01') to ('2026-03-01');
        create index "log kind" on "Log" (kind); create index log_at on "Log" (at);
        insert into "Log" select '2026-01-10', n from generate_series(1, 1000) n;
        analyze""")
    with watched.connect() as connection:
        connection.execute("set enable_seqscan = off")
        connection.execute("select from t where c = 1")
        connection.execute("""select from log_1 where at = '2026-01-01' and false or at = '2026-01-05'""")
        connection.execute("select pg_stat_force_next_flush()")
    rows = {row["index_name"]: row for row in seen(watched, "unused_indexes")}
    assert rows.keys() == {"unused", "log kind"}
    assert rows["log kind"]["table_name"] == "Log"
    assert rows["log kind"]["parts"] == 2
    assert rows["log kind"]["bytes"] > 8192
    watched.run("select pg_stat_reset()")
    assert all(age.total_seconds() < 60 for age in of(watched, "unused_indexes", "stats_age"))


def test_duplicate_indexes_are_the_ones_that_another_stands_for(watched: Database) -> None:
    watched.run("""
        create table t (id int primary key, a int, b int, c text);
        create index a on t (a); create index ab on t (a, b); create index ab_again on t (a, b);
        create index a_desc on t (a desc); create index a_some on t (a) where b > 0;
        create index a_hash on t using hash (a); create index ba on t (b, a);
        create index c on t (c); create index c_pattern on t (c text_pattern_ops, a); create index c_other on t (c collate "C", a);
        create index a_with_c on t (a) include (c); create unique index u on t (b); create index ub on t (b, c);
        create index id_again on t (id); create unique index id_unique on t (id)""")
    rows = {row["index_name"]: row["covered_by"] for row in seen(watched, "duplicate_indexes")}
    assert rows.keys() == {"a", "ab_again", "id_again", "id_unique"}
    assert rows["ab_again"] == "ab"
    assert rows["id_unique"] == "t_pkey"


def test_duplicates_of_partitioned_tables_are_told_once(watched: Database) -> None:
    watched.run("""
        create table t (a int, b int) partition by list (a); create table t1 partition of t for values in (1);
        create index one on t (b); create index two on t (b)""")
    assert of(watched, "duplicate_indexes", "index_name") == ["two"]


def test_rows_of_an_analyzed_partitioned_table_are_counted_once(watched: Database) -> None:
    watched.run(
        "create table shops (id int primary key);"
        "create table sold (id int, shop int references shops) partition by range (id);"
        "create table sold_0 partition of sold for values from (0) to (1000);"
        "insert into sold select g, null from generate_series(1, 900) g; analyze sold"
    )
    rows = {row["table_name"]: row["table_rows"] for row in seen(watched, "missing_fk_indexes")}
    assert rows["sold"] == 900


def test_foreign_keys_without_an_index(watched: Database) -> None:
    watched.run("""
        create table people (id int primary key, x int, y int, unique (x, y));
        create table "Posts" (id int, "authorId" int constraint missing references people,
            editor int constraint led references people, reader int constraint partial references people,
            fan int constraint other_partial references people, x int, y int,
            constraint pair foreign key (x, y) references people (x, y));
        create index on "Posts" (editor, id); create index on "Posts" (reader) where reader is not null;
        create index on "Posts" (fan) where fan > 3; create index on "Posts" (y, x, id); create index on "Posts" (id, "authorId")
    """)
    rows = {row["constraint_name"]: row for row in seen(watched, "missing_fk_indexes")}
    assert rows.keys() == {"missing", "other_partial"}
    assert rows["missing"]["columns"] == ["authorId"]
    assert rows["missing"]["referenced_table"] == "people"


def test_invalid_objects_are_not_those_that_are_being_built(watched: Database) -> None:
    watched.run("""
        create table t (id int, a int); insert into t values (1, 1), (1, 1);
        alter table t add constraint later check (a > 0) not valid; create table u (id int)""")
    with pytest.raises(psycopg.errors.UniqueViolation):
        watched.run("create unique index concurrently broken on t (id)")
    with busy(watched, "select from u"), watched.connect() as builder:
        from threading import Thread

        watched.run("drop index if exists being_built")
        thread = Thread(target=lambda: builder.execute("create index concurrently being_built on u (id)"))
        with busy(watched, "lock table u in row exclusive mode"):
            thread.start()
            wait_until(
                "an invalid index", lambda: watched.value("select true from pg_class where relname = 'being_built'")
            )
            assert sorted(of(watched, "invalid_objects", "name")) == ["broken", "later"]
    thread.join()


def test_index_bloat_is_what_a_rebuild_gives_back(watched: Database) -> None:
    watched.run("""
        create table t (id int primary key, same int) with (autovacuum_enabled = off); create index same on t (same);
        create table fresh (id int primary key) with (autovacuum_enabled = off);
        create table never (id int primary key) with (autovacuum_enabled = off);
        insert into t select n, n % 3 from generate_series(1, 100000) n;
        insert into fresh select generate_series(1, 100000); insert into never select generate_series(1, 1000);
        delete from t where id % 2 = 0""")
    watched.run("vacuum analyze t")
    watched.run("vacuum analyze fresh")
    rows = {row["index_name"]: row for row in seen(watched, "index_bloat")}
    assert 40 < rows["t_pkey"]["bloat_percent"] < 60
    assert rows["t_pkey"]["unreliable"] is None
    assert rows["fresh_pkey"]["bloat_percent"] < 10
    assert rows["same"]["unreliable"] == "equal entries are stored once"
    assert rows["never_pkey"]["unreliable"]


def test_index_bloat_is_measured_where_pgstattuple_is_there(watched: Database) -> None:
    watched.run("""
        create schema "E x"; grant usage on schema "E x" to public;
        create table "T %s" (n int) with (autovacuum_enabled = off);
        insert into "T %s" select n % 3 from generate_series(1, 40000) n;
        create index "same %s" on "T %s" (n) with (fillfactor = 10); alter index "same %s" reset (fillfactor);
        create table small (id int primary key)""")
    watched.run("analyze")
    (row,) = (each for each in seen(watched, "index_bloat") if each["index_name"] == "same %s")
    assert (row["unreliable"], row["measured"]) == ("equal entries are stored once", False)
    watched.run('create extension pgstattuple schema "E x"')
    rows = {each["index_name"]: each for each in seen(watched, "index_bloat")}
    assert (rows["same %s"]["unreliable"], rows["same %s"]["measured"]) == (None, True)
    assert 75 < rows["same %s"]["bloat_percent"] < 95
    assert rows["small_pkey"]["measured"] is False, "it is not worth to be read"
    rows = {each["index_name"]: each for each in seen(watched, "index_bloat", setup="set pgopt.measured_size = '1 MB'")}
    assert (rows["same %s"]["unreliable"], rows["same %s"]["measured"]) == ("equal entries are stored once", False)


def test_table_bloat_is_what_was_deleted(watched: Database) -> None:
    text = "repeat('x', 100)"
    watched.run(f"""
        create table t (id int, body text) with (autovacuum_enabled = off); create table never (id int);
        create table fresh (id int, body text) with (autovacuum_enabled = off);
        insert into t select n, {text} from generate_series(1, 20000) n;
        insert into fresh select n, {text} from generate_series(1, 20000) n; insert into never values (1);
        delete from t where id % 2 = 0""")
    watched.run("vacuum analyze t")
    watched.run("vacuum analyze fresh")
    rows = {row["table_name"]: row for row in seen(watched, "table_bloat")}
    assert 40 < rows["t"]["bloat_percent"] < 60
    assert rows["fresh"]["bloat_percent"] < 10
    assert rows["never"]["unreliable"] == "never analyzed"


# -- tables --------------------------------------------------------------------------------------------------------------


def test_table_sizes_are_those_of_whole_trees(watched: Database) -> None:
    watched.run("""
        create table t (a int, b text) partition by list (a); create index on t (b);
        create table t1 partition of t for values in (1);
        create table t2 partition of t for values in (2) partition by list (a); create table t21 partition of t2 default;
        insert into t select 1 + n % 2, repeat(md5(n::text), 3) from generate_series(1, 5000) n;
        create materialized view m as select * from t1; analyze""")
    rows = {row["table_name"]: row for row in seen(watched, "table_sizes") if row["schema_name"] == "public"}
    assert rows.keys() == {"t", "m"}
    assert rows["t"]["partitions"] == 2
    assert rows["t"]["rows"] == 5000
    whole = watched.value("select sum(pg_total_relation_size(relid)) from pg_partition_tree('t')")
    assert rows["t"]["total_bytes"] == whole
    assert rows["t"]["index_bytes"] > 0


def test_vacuum_state_counts_dead_rows(watched: Database) -> None:
    watched.run("""
        create table t (id int) with (autovacuum_enabled = off); insert into t select generate_series(1, 1000);
        delete from t where id > 500; select pg_stat_force_next_flush()""")
    wait_until(
        "the statistics", lambda: watched.value("select n_dead_tup from pg_stat_user_tables where relname = 't'")
    )
    row = next(row for row in seen(watched, "vacuum_state") if row["table_name"] == "t")
    assert (row["live_rows"], row["dead_rows"], row["dead_percent"]) == (500, 500, 50)
    assert row["last_vacuum"] is None
    assert row["autovacuum"] is False
    assert 2_000_000_000 < row["xids_left"] <= 2_146_483_648


def test_sequence_headroom_is_that_of_the_column(watched: Database) -> None:
    watched.run("""
        create table full_int (id int primary key); create sequence big; alter table full_int alter id set default nextval('big');
        create table wide (id bigint generated always as identity); create table small (id smallserial);
        create sequence round maxvalue 10 cycle; create sequence down increment -1 minvalue -100;
        select setval('big', 2040109466); select setval('wide_id_seq', 2040109466); select setval('round', 10);
        select setval('down', -95)""")
    rows = {row["sequence_name"]: row for row in seen(watched, "sequence_headroom")}
    assert rows.keys() == {"big", "wide_id_seq", "small_id_seq", "down"}
    assert rows["big"]["used_percent"] == 95
    assert rows["big"]["column_type"] == "integer"
    assert rows["wide_id_seq"]["used_percent"] < 1
    assert rows["down"]["used_percent"] == 95


def test_partition_headroom_is_the_time_until_the_last_one_ends(watched: Database) -> None:
    watched.run("create table logs (id int, at timestamptz, primary key (id, at)); insert into logs values (1, now())")
    watched.perform(PartitionTable("logs", by=Monthly("at"), premake=2))
    (row,) = seen(watched, "partition_headroom", setup="set timezone = 'Asia/Tokyo'; set datestyle = 'SQL, DMY'")
    ends = watched.value(
        "select extract(epoch from (date_trunc('month', now() at time zone 'UTC') + '3 months') at time zone 'UTC' - now()) / 3600"
    )
    assert abs(float(row["hours_left"]) - float(ends)) < 24 * 32
    assert row["hours_left"] > 24 * 28
    assert (row["schema_name"], row["table_name"], row["premake"]) == ("public", "logs", 2)


# -- sessions ------------------------------------------------------------------------------------------------------------


def test_long_running_transactions(watched: Database) -> None:
    with busy(watched, "select 'its query'"):
        assert seen(watched, "long_running") == []
        (row,) = seen(watched, "long_running", setup="set pgopt.long_running = '0 s'")
        assert row["query"] == "select 'its query'"
        assert row["state"] == "idle in transaction"


def test_blocking_is_a_tree(watched: Database) -> None:
    watched.run("create table t (id int)")
    with (
        busy(watched, "lock table t in share row exclusive mode") as first,
        busy(watched, "lock table t in access exclusive mode", wait=False) as second,
        busy(watched, "select from t", wait=False) as third,
    ):
        rows = seen(watched, "blocking")
        pids = [connection.info.backend_pid for connection in (first, second, third)]
        first.rollback()
        wait_until("the second", lambda: second.info.transaction_status != psycopg.pq.TransactionStatus.ACTIVE)
        second.rollback()
    assert [(row["pid"], row["depth"], row["waits_for"]) for row in rows] == [
        (pids[0], 0, None),
        (pids[1], 1, pids[0]),
        (pids[2], 2, pids[1]),
    ]
    assert rows[1]["wants"] == "AccessExclusiveLock"
    assert rows[1]["relation"] == "t"
    assert rows[2]["waits"].total_seconds() >= 0


def test_connections_and_cache_hit(watched: Database) -> None:
    with watched.connect(application_name="the shop"):
        rows = {row["application"]: row for row in seen(watched, "connections")}
    assert rows["the shop"]["connections"] == 1
    assert rows["the shop"]["all_connections"] <= rows["the shop"]["max_connections"]
    watched.run("create table t (id int primary key); insert into t values (1); select pg_stat_force_next_flush()")
    hits = {row["kind"]: row for row in seen(watched, "cache_hit")}
    assert hits.keys() == {"tables", "indexes"}
    assert hits["tables"]["hits"] > 0
    assert 0 < hits["tables"]["hit_percent"] <= 100


# -- views of an older pgopt ---------------------------------------------------------------------------------------------


@pytest.fixture
def older(watched: Database) -> Iterator[Database]:
    """A database with the views as an older pgopt made them, which somebody else may read, too."""
    watched.run("""
        comment on function pgopt.slow_queries() is null; drop view pgopt.stale_views; drop function pgopt.stale_views();
        drop view pgopt.blocking; create view pgopt.blocking as select 1 as of_old""")
    watched.run(f"drop role if exists {READER}")
    watched.run(
        f"create role {READER}; grant select on pgopt.blocking, pgopt.table_sizes to {READER} with grant option;"
        f"grant execute on function pgopt.index_bloat() to {READER}"
    )
    yield watched
    watched.run(f"drop owned by {READER}; drop role {READER}")


def test_views_of_an_older_pgopt_are_made_anew_once(older: Database) -> None:
    assert of(older, "slow_queries_state()", "state")
    older.perform(InstallMonitoring())
    assert seen(older, "blocking") == []
    assert seen(older, "stale_views") == []
    granted = older.rows(
        "select table_name, is_grantable from information_schema.role_table_grants where grantee ^@ 'pgopt %s' order by 1"
    )
    assert granted == [("blocking", "YES"), ("table_sizes", "YES")]
    assert older.value(
        "select has_function_privilege(oid, 'pgopt.index_bloat()', 'execute') from pg_roles where rolname ^@ 'pgopt %s'"
    )
    before = older.value("select 'pgopt.blocking'::regclass::oid")
    older.perform(InstallMonitoring())
    assert older.value("select 'pgopt.blocking'::regclass::oid") == before
    # they were there before this revision, and so they stay on its way down
    older.perform(UninstallMonitoring())
    assert seen(older, "blocking") == []
    older.perform(UninstallMonitoring())
    assert older.value("select to_regclass('pgopt.blocking')") is None


def test_what_rests_on_a_view_keeps_it_as_it_is(older: Database) -> None:
    older.run("create view mine as select * from pgopt.blocking")
    with pytest.raises(StatementFailed, match="mine depends on view"):
        older.perform(InstallMonitoring())
    assert older.value("select of_old from mine") == 1


def test_views_that_have_grown_old(watched: Database) -> None:
    watched.run('create table t (n int); create schema "S x"; create materialized view "S x"."V %s" as select n from t')
    watched.run(
        "create materialized view empty as select n from t with no data; create materialized view unknown as select n from t"
    )
    watched.run("create materialized view rare as select n from t")
    for view, hours in (('"S x"."V %s"', 1), ("rare", 48)):
        watched.run(f"select pgopt.refresh('{view}'::regclass)")
        watched.run(f"""
            insert into pgopt.refresh (view, outcome, started_at, finished_at)
            select '{view}'::regclass, 'refreshed', t, t from generate_series(now(), now() + 8 * interval '{hours} hours', interval '{hours} hours') t;
            update pgopt.materialized set fresh_at = now() - interval '5 hours' where view = '{view}'::regclass""")
    rows = {row["view_name"]: row for row in seen(watched, "stale_views")}
    assert rows.keys() == {"empty", "V %s"}
    assert rows["V %s"]["usual"] == timedelta(hours=1)
    assert rows["empty"]["populated"] is False
