"""What is told of the time between two snapshots: work that was done, and neither what was reset nor another server's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgopt import InvalidOperation, NotInstalled
from pgopt.jobs.runner import Runner
from pgopt.operations import (
    CreateExtension,
    CreateMaterializedView,
    InstallMonitoring,
    InstallPgopt,
    InstallSnapshots,
    UninstallMonitoring,
    UninstallPgopt,
    UninstallSnapshots,
)
from tests.integration.test_monitoring import WATCHER
from tests.integration.test_slow_queries import recorded  # noqa: F401  -- a fixture

if TYPE_CHECKING:
    from tests.databases import Database


@pytest.fixture
def pictured(database: Database) -> Database:
    """A database of which snapshots are taken."""
    database.perform(InstallPgopt(1), InstallSnapshots())
    return database


def take(database: Database) -> int:
    """Take a snapshot of what was done until now, and give its number."""
    with database.connect() as connection:
        connection.execute("select pg_stat_force_next_flush()")
    number: int = database.value("select pgopt.take_snapshot()")
    return number


def read(database: Database, query: str) -> list[dict[str, Any]]:
    with database.connect(row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def tables(database: Database, first: int, last: int) -> dict[str, dict[str, Any]]:
    """What was done in tables."""
    return {row["table_name"]: row for row in read(database, f"select * from pgopt.tables_between({first}, {last})")}


def work(database: Database, first: int, last: int) -> dict[str, Any]:
    """What the database has done."""
    (row,) = read(database, f"select * from pgopt.work_between({first}, {last})")
    return row


def run(database: Database, *statements: str) -> None:
    """Run statements whose counts the next snapshot has."""
    with database.connect() as connection:
        for statement in (*statements, "select pg_stat_force_next_flush()"):
            connection.execute(statement)


def test_between_any_two_is_what_was_done(pictured: Database) -> None:
    pictured.run(
        'create schema "S x"; create table "S x"."T %s" (id int primary key) with (autovacuum_enabled = off); create table quiet (id int)'
    )
    first = take(pictured)
    run(pictured, 'insert into "S x"."T %s" select generate_series(1, 1000)', 'delete from "S x"."T %s" where id > 900')
    second = take(pictured)
    third = take(pictured)
    run(
        pictured,
        'insert into "S x"."T %s" select generate_series(2001, 2500)',
        'update "S x"."T %s" set id = -id where id = 5',
    )
    fourth = take(pictured)
    counted = {
        (one, two): [
            tables(pictured, one, two).get("T %s", {}).get(what, 0) for what in ("inserted", "updated", "deleted")
        ]
        for one, two in [(first, second), (second, third), (third, fourth), (first, fourth)]
    }
    assert list(counted.values()) == [[1000, 0, 100], [0, 0, 0], [500, 1, 0], [1500, 1, 100]]
    whole = tables(pictured, first, fourth)
    size = pictured.value("""select pg_total_relation_size('"S x"."T %s"')""")
    assert whole.keys() == {"T %s"}, "what is quiet takes no room"
    assert (whole["T %s"]["total_bytes"], whole["T %s"]["schema_name"]) == (size, "S x")
    grown = work(pictured, first, fourth)
    assert whole["T %s"]["growth"] == size - 8192
    assert grown["rows_written"] >= 1601
    assert grown["wal_bytes"] > 0
    assert (grown["resets"], grown["since"] < grown["until"]) == ([], True)


def test_what_was_reset_is_not_read_as_negative_work(pictured: Database) -> None:
    pictured.run("create table t (id int); create table other (id int)")
    run(pictured, "insert into t select generate_series(1, 1000)", "insert into other select generate_series(1, 1000)")
    first = take(pictured)
    pictured.run("select pg_stat_reset()")
    run(pictured, "insert into t select generate_series(1, 30)")
    second = take(pictured)
    assert tables(pictured, first, second)["t"]["inserted"] == 30
    assert "other" not in tables(pictured, first, second)
    done = work(pictured, first, second)
    assert done["resets"] == ["statistics"]
    assert min(value for value in done.values() if isinstance(value, float)) >= 0
    run(pictured, "insert into t select generate_series(1, 7)")
    assert tables(pictured, second, take(pictured))["t"]["inserted"] == 7
    # of one table alone: the others have done what they have done
    pictured.run("select pg_stat_reset_single_table_counters('other'::regclass)")
    run(pictured, "insert into t select generate_series(1, 5)", "insert into other values (1)")
    last = take(pictured)
    seen = tables(pictured, last - 1, last)
    assert {name: row["inserted"] for name, row in seen.items()} == {"t": 5, "other": 1}
    assert work(pictured, last - 1, last)["resets"] == ["statistics"]


def test_a_partition_that_goes_takes_its_size_and_no_work_with_it(pictured: Database) -> None:
    pictured.run("""
        create table logs (id int) partition by range (id); create table logs_1 partition of logs for values from (0) to (1000);
        create table logs_2 partition of logs for values from (1000) to (2000); insert into logs select generate_series(0, 1999)""")
    run(pictured, "analyze logs")
    first = take(pictured)
    size = pictured.value("select pg_total_relation_size('logs_1')")
    run(pictured, "drop table logs_1", "insert into logs values (1000), (1001)")
    second = take(pictured)
    (row,) = tables(pictured, first, second).values()
    assert (row["table_name"], row["growth"], row["inserted"]) == ("logs", -size, 2)
    pictured.run("drop table logs")
    (row,) = tables(pictured, second, take(pictured)).values()
    assert (row["total_bytes"], row["growth"]) == (0, -size)


def test_another_server_has_other_counters(pictured: Database) -> None:
    pictured.run("create table t (id int)")
    run(pictured, "insert into t select generate_series(1, 1000)")
    first = take(pictured)
    # as a standby finds it that was promoted, and has read much and written nothing
    pictured.run(
        "update pgopt.last_snapshot set server = 'another'; update pgopt.last_table set counts = array[0, 0, 0, 0, 0]"
    )
    second = take(pictured)
    done = work(pictured, first, second)
    assert done["resets"] == ["another server"]
    assert (done["seconds"], done["commits"], done["wal_bytes"]) == (None, None, None)
    assert tables(pictured, first, second)["t"]["inserted"] is None
    run(pictured, "insert into t values (1)")
    third = take(pictured)
    assert tables(pictured, first, third)["t"]["inserted"] == 1


def test_a_table_that_is_locked_is_not_waited_for(pictured: Database) -> None:
    pictured.run("create table t (id int); create table fresh (id int); insert into t select generate_series(1, 1000)")
    first = take(pictured)
    with pictured.connect() as busy:
        busy.execute("begin; lock table t")
        second = take(pictured)
        busy.rollback()
    assert "t" not in tables(pictured, first, second)
    run(pictured, "insert into t select generate_series(1, 1000)")
    assert tables(pictured, first, take(pictured))["t"]["inserted"] == 1000


def test_a_materialized_view_grows_old(pictured: Database) -> None:
    pictured.run("create table t (id int); insert into t values (1)")
    pictured.perform(CreateMaterializedView("board", "select * from t"))
    pictured.run("update pgopt.materialized set fresh_at = now() - interval '1 hour'")
    take(pictured)
    last = take(pictured)
    (stale,) = read(
        pictured, f"select * from pgopt.snapshot_table where snapshot = {last} and stale_seconds is not null"
    )
    assert stale["table_name"] == "board"
    assert 3600 <= stale["stale_seconds"] < 7200


def test_bloat_is_there_with_the_views(pictured: Database) -> None:
    take(pictured)
    pictured.perform(InstallMonitoring())
    pictured.run(
        "create table t (id int primary key) with (autovacuum_enabled = off);"
        "insert into t select generate_series(1, 20000); delete from t where id % 2 = 0"
    )
    pictured.run("vacuum analyze t")
    last = take(pictured)
    before, after = read(pictured, f"select * from pgopt.snapshot where id in ({last - 1}, {last}) order by id")
    assert (before["index_bloat_bytes"], before["unused_index_bytes"]) == (None, None)
    assert after["index_bloat_bytes"] > 100_000
    assert after["table_bloat_bytes"] > 100_000
    assert (after["unused_index_bytes"], after["notes"]) == (0, [])


def test_there_is_no_such_snapshot(pictured: Database) -> None:
    with pytest.raises(psycopg.errors.NoDataFound, match="no snapshot 7"):
        tables(pictured, take(pictured), 7)


def test_they_are_taken_by_a_job_and_go_by_a_policy(pictured: Database) -> None:
    pictured.run("update pgopt.job set next_due = now()")
    with pictured.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        ran = {each.job: each.error for each in Runner(connection).round()}
    assert ran == {"snapshots": None, "retention of pgopt.snapshot": None}
    take(pictured)
    pictured.run("update pgopt.snapshot set taken_at = now() - interval '31 days' where id = 1")
    pictured.run("call pgopt.apply_retention('pgopt.snapshot')")
    assert pictured.rows("select id from pgopt.snapshot") == [(2,)]
    assert pictured.value("select count(*) from pgopt.snapshot_table where snapshot = 1") == 0


def test_they_stay_when_no_more_are_taken_and_the_schema_does_while_there_are(pictured: Database) -> None:
    take(pictured)
    with pytest.raises(InvalidOperation, match="uninstall_snapshots"):
        pictured.perform(UninstallPgopt(1))
    pictured.perform(UninstallSnapshots())
    assert pictured.rows("select name from pgopt.job") == []
    assert pictured.value("select count(*) from pgopt.snapshot") == 1
    pictured.perform(InstallSnapshots(every="20 minutes"))
    with pytest.raises(InvalidOperation, match="with every '00:20:00'"):
        pictured.perform(InstallSnapshots())


def test_they_need_the_schema_and_a_time(database: Database) -> None:
    with pytest.raises(NotInstalled, match="install_pgopt"):
        database.perform(InstallSnapshots())
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match="1 mon"):
        database.perform(InstallSnapshots(every="1 month"))
    with pytest.raises(InvalidOperation, match="keep='soon'"):
        database.perform(InstallSnapshots(keep="soon"))
    assert database.rows("select name from pgopt.job") == []


def test_an_owner_who_is_no_superuser_takes_them_and_a_watcher_reads_them(database: Database) -> None:
    owner, watcher = "pgopt_owner", WATCHER
    database.run(
        f"drop role if exists {owner}; create role {owner} login; drop role if exists {watcher}; create role {watcher} login"
    )
    try:
        database.run(f"alter database {database.name} owner to {owner}; alter schema public owner to {owner}")
        engine = database.engine(connect_args={"user": owner})
        database.perform(InstallPgopt(1), InstallSnapshots(), engine=engine)
        with psycopg.connect(database.server.dsn(database.name), user=owner, autocommit=True) as connection:
            connection.execute("create table t (id int)")
            connection.execute("select pgopt.take_snapshot()")
            connection.execute("select pgopt.take_snapshot()")
        database.run(f"grant pg_monitor to {watcher}")
        # which has the schema from whoever made it, and leaves it to the snapshots
        database.perform(InstallMonitoring(), UninstallMonitoring(), engine=engine)
        with psycopg.connect(database.server.dsn(database.name), user=watcher, autocommit=True) as connection:
            assert connection.execute("select resets from pgopt.work_between(1, 2)").fetchone() == ([],)
            for table in ("snapshot", "snapshot_table", "snapshot_statement", "statement", "reindex"):
                connection.execute(f"select * from pgopt.{table}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select pgopt.take_snapshot()")
    finally:
        database.run(f"reassign owned by {owner} to current_user; drop owned by {owner}; drop role {owner}")
        database.run(f"drop owned by {watcher}; drop role {watcher}")


def statements(database: Database, first: int, last: int) -> dict[str, dict[str, Any]]:
    """What statements have done, by their words."""
    return {row["query"]: row for row in read(database, f"select * from pgopt.statements_between({first}, {last})")}


def test_statements_are_those_of_the_time_between(recorded: Database) -> None:  # noqa: F811
    recorded.perform(InstallSnapshots())
    slow, quick = "select pg_sleep($1)", "select $1::text"
    recorded.run("select pg_sleep(0.01)")
    take(recorded)
    recorded.perform(CreateExtension("pg_stat_statements"))
    first = take(recorded)
    second = take(recorded)
    assert slow not in statements(recorded, first, second), "what was done before nobody looked is nobody's"
    assert recorded.rows("select statements from pgopt.snapshot order by id") == [(False,), (False,), (True,)]
    recorded.run("select pg_sleep(0.02)")
    third = take(recorded)
    recorded.run("select pg_sleep(0.02)")
    recorded.run("create role with_a_word password 'a \"secret\"'")
    fourth = take(recorded)
    assert [
        statements(recorded, *pair)[slow]["calls"] for pair in ((second, third), (third, fourth), (first, fourth))
    ] == [1, 1, 2]
    assert statements(recorded, first, fourth)[slow]["milliseconds"] >= 40
    assert statements(recorded, first, fourth)[slow]["mean_milliseconds"] >= 20
    assert "secret" not in str(recorded.rows("select query from pgopt.statement"))
    assert sum(row["share_percent"] for row in statements(recorded, first, fourth).values()) == pytest.approx(100)
    recorded.run("select pg_stat_statements_reset()")
    recorded.run("select pg_sleep(0.01)")
    fifth = take(recorded)
    assert statements(recorded, fourth, fifth)[slow]["calls"] == 1
    assert work(recorded, fourth, fifth)["resets"] == ["pg_stat_statements"]
    assert work(recorded, third, fourth)["resets"] == []
    # beyond the two hundred that took longest there is one row for all
    with recorded.connect() as connection:
        for number in range(1, 251):
            connection.execute(f"select {', '.join(['1'] * number)}")
    sixth = take(recorded)
    seen = statements(recorded, fifth, sixth)
    assert len(seen) == 201
    assert seen["all others"]["calls"] >= 50
    recorded.run("drop extension pg_stat_statements")
    take(recorded)
    assert quick not in statements(recorded, fifth, sixth)
