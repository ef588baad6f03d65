"""What a backfill does beside the promises: several of a revision, and going slower for the sake of others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation, LockNotAcquired
from pgopt.operations import AddColumnOnline, Backfill, InstallPgopt, Operation
from pgopt.plan.batches import Turns
from pgopt.plan.events import Event, Note, StepProgress, Throttled
from pgopt.plan.settings import Settings
from pgopt.server.catalog import Catalog
from pgopt.server.keys import KeyRange, columns_of
from pgopt.server.objects import Relation
from pgopt.server.quoting import render
from pgopt.server.session import Session
from tests.databases import Database, held, wait_until
from tests.integration.alembic_project import Project
from tests.servers import of_binaries

if TYPE_CHECKING:
    from tests.servers import Server

TABLE = "create table t (id int primary key, n int not null default 0, note text)"


def test_two_backfills_of_one_column_in_a_revision_are_both_done(database: Database, tmp_path: Path) -> None:
    database.run(f"{TABLE}; insert into t select generate_series(1, 20)")
    project = Project.with_run(tmp_path, database.server.url(database.name))
    project.revision("first", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.revision(
        "second",
        'op.backfill("t", set={"n": "1"}, where="id <= 10")\nop.backfill("t", set={"n": "2"}, where="id > 10")',
    )
    project.upgrade()
    assert database.rows("select n, count(*) from t group by n order by n") == [(1, 10), (2, 10)]


AGAIN = """
import os
op.backfill("t", set={"n": "n + 1"})
assert os.environ["STOP"] != "after one"
op.backfill("t", set={"n": "n + 1"})
assert os.environ["STOP"] != "after both"
"""


@pytest.mark.parametrize("stop", ["after one", "after both", "never"])
def test_two_equal_backfills_of_a_revision_are_each_done_once(stop: str, database: Database, tmp_path: Path) -> None:
    database.run(f"{TABLE}; insert into t select generate_series(1, 20)")
    project = Project.with_run(tmp_path, database.server.url(database.name))
    project.revision("first", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.revision("second", AGAIN)
    project.revision("third", AGAIN)
    project.environment["STOP"] = stop
    if stop != "never":
        with pytest.raises(AssertionError):
            project.upgrade()
        project.environment["STOP"] = "never"
    project.upgrade()
    assert database.rows("select n, count(*) from t group by n") == [(4, 20)]


def test_batches_wait_when_the_server_writes_too_much_wal(database: Database) -> None:
    database.run(f"{TABLE}; insert into t select generate_series(1, 1500)")
    database.perform(InstallPgopt(1))
    # a pause between batches, so that a second goes by: it looks only then
    settings = {"wal_rate": 100_000.0, "batch_rows": 500, "batch_most": 500, "batch_pause": 0.55}
    events = database.perform(Backfill("t", {"note": "repeat('x', 100)"}), settings=settings)
    told = [event for event in events if isinstance(event, Throttled)]
    assert told
    assert all("WAL" in event.reason and event.wait > 0 for event in told)
    assert database.value("select count(*) from t where note is null") == 0


def test_batches_wait_for_a_standby_whose_replay_stands_still(server: Server) -> None:
    bindir = Path(server.bindir)
    # a server of its own, since all of a server's batches wait for its standbys
    with of_binaries(bindir) as primary, of_binaries(bindir, standby_of=primary) as standby:
        here, there = Database(primary, "postgres"), Database(standby, "postgres")
        here.run(f"{TABLE}; insert into t select generate_series(1, 2000)")
        here.perform(InstallPgopt(1))
        done = "select count(*) from t where n = 1"
        told: list[Event] = []

        def report(event: Event) -> None:
            if isinstance(event, Throttled) and not any(isinstance(earlier, Throttled) for earlier in told):
                assert there.value(done) < here.value(done) < 2000
                there.run("select pg_wal_replay_resume()")
            told.append(event)

        wait_until("the standby has the table", lambda: there.value("select to_regclass('pgopt.progress')"))
        here.run("create role blind login; grant all on t to blind; grant all on all tables in schema pgopt to blind")
        here.run("grant usage on schema pgopt to blind; grant temporary on database postgres to blind")
        blind = Database(replace(primary, user="blind"), "postgres")
        said = [event.text for event in blind.perform(Backfill("t", {"n": "0"})) if isinstance(event, Note)]
        assert said == [
            "backfill n of public.t waits for no standby: this role cannot see how far behind one is; grant it pg_monitor"
        ]
        there.run("select pg_wal_replay_pause()")
        settings = {"replication_lag": 2.0, "batch_rows": 200, "batch_most": 200, "batch_pause": 0.5}
        here.perform(Backfill("t", {"n": "1"}), settings=settings, pgopt_report=report)
        reasons = [event.reason for event in told if isinstance(event, Throttled)]
        assert reasons[0].startswith("standby walreceiver is ")
        assert len(reasons) <= 3, "it went on when the standby had caught up"
        assert here.value(done) == 2000


# it holds the rows of the batch until somebody waits for one of them
HOLD = """
create function hold() returns trigger language plpgsql as $$
begin
    while not exists (select from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))) loop
        perform pg_stat_clear_snapshot(), pg_sleep(0.01);
    end loop;
    return null;
end $$;
create trigger hold after update of n on t for each row when (new.id = 1) execute function hold();
"""


def test_a_batch_that_made_others_wait_is_followed_by_a_smaller_one(database: Database) -> None:
    database.run(f"{TABLE}; insert into t select generate_series(1, 300); {HOLD}")
    database.perform(InstallPgopt(1))
    done = threading.Event()

    def write() -> None:
        with database.connect() as connection:
            while not done.is_set():
                connection.execute("update t set note = 'mine' where id = 1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        settings = {"batch_rows": 100, "batch_most": 100, "batch_seconds": 1000.0}
        events = database.perform(Backfill("t", {"n": "1"}), settings=settings)
    finally:
        done.set()
        writer.join()
    keys = [0, *(event.done for event in events if isinstance(event, StepProgress))]
    assert [after - before for before, after in pairwise(keys)] == [100, 50, 100, 100]


def test_who_cancels_what_has_no_timeout_of_ours_is_obeyed(database: Database) -> None:
    database.run("create table t (id int primary key)")
    told: list[Event] = []
    with database.engine().connect() as connection, ThreadPoolExecutor() as threads:
        session = Session(connection)
        with session.autocommit():
            session.run("set deadlock_timeout = '10ms'")
            turns = Turns(session, Settings(), told.append, "fill", Catalog(session).table("t"))
            with turns.transaction():
                pass
            pid = session.pid
            running = threads.submit(turns.repeat, lambda: session.run("select pg_sleep(60)"))
            asleep = f"select wait_event = 'PgSleep' from pg_stat_activity where pid = {pid}"
            wait_until("it is at work", lambda: database.value(asleep))
            database.run(f"select pg_sleep(0.05), pg_cancel_backend({pid})")
            with pytest.raises(DBAPIError, match="user request"):
                running.result(50)
    assert told == []


def test_no_patience_is_no_wait_without_end(database: Database) -> None:
    database.run(f"{TABLE}; insert into t values (1)")
    database.perform(InstallPgopt(1))
    with (
        held(database, "select from t where id = 1 for update"),
        pytest.raises(LockNotAcquired, match="rows were held by others in 2 attempts"),
    ):
        database.perform(Backfill("t", {"n": "1"}), settings={"lock_timeout": 0, "lock_attempts": 2, "batch_rows": 1})


PAIRS = (
    """create table pairs (shop int, number int, n int not null default 0, pad text not null default repeat('x', 80),
                           primary key (shop, number)) with (fillfactor = 40)""",
    "insert into pairs (shop, number) select g / {share}, g from generate_series(1, 40000) g",
    "vacuum analyze pairs",
)
READ = """select sum(seq_tup_read) + (select sum(idx_tup_read) from pg_stat_user_indexes where relname = 'pairs')
          from pg_stat_user_tables where relname = 'pairs'"""


@pytest.mark.parametrize("share", [10, 15_000])
@pytest.mark.parametrize("way", ["online", "script"])
def test_a_batch_by_a_key_of_two_columns_does_not_read_what_is_before_it(
    way: str, share: int, database: Database
) -> None:
    for statement in PAIRS:
        database.run(statement.format(share=share))
    database.perform(InstallPgopt(1))
    operation = Backfill("pairs", set={"n": "1"}, key=["shop", "number"])
    if way == "script":
        database.psql(database.script(operation))
    else:
        database.perform(operation, settings={"batch_rows": 1000, "batch_most": 1000, "batch_seconds": 1000.0})
    updated = "select sum(n_tup_upd) from pg_stat_user_tables where relname = 'pairs'"
    wait_until("the counters", lambda: database.value(updated) == 40_000)
    # each row is found for the batch's end and for its update; whatever begins anew for each of 40 batches reads 20 times as many
    assert database.value(READ) < 6 * 40_000


def test_the_planner_sees_that_two_keys_of_two_columns_are_a_range(database: Database) -> None:
    for statement in PAIRS:
        database.run(statement.format(share=15_000))
    with database.engine().connect() as connection:
        columns = columns_of(Session(connection), Relation(0, "public", "pairs", "r"), ["shop", "number"])
    condition = render(KeyRange(columns, ["1", "20000"], ["1", "20100"]).condition())
    ((plan,),) = database.rows(f"explain (format json) select * from pairs where {condition}")
    assert plan[0]["Plan"]["Plan Rows"] <= 100


ELSEWHERE = """create schema ext; create extension citext schema ext; create domain ext.word as ext.citext;
               create table words (word ext.{kind}, number int, n int, primary key ({key}));
               insert into words select (array['A', 'a', 'b', 'B'])[1 + g % 4] || {more}, g from generate_series(1, 400) g"""
SMALL = {"batch_rows": 20, "batch_most": 20}


@pytest.mark.parametrize(
    ("key", "more"),
    [("word", "g"), ("word, number", "''"), ("number, word", "''")],
    ids=["word", "word first", "word last"],
)
@pytest.mark.parametrize("kind", ["citext", "word"])
@pytest.mark.parametrize("path", ["public", "public, ext"])
def test_no_row_is_left_out_whose_key_is_compared_by_operators_of_another_schema(
    path: str, kind: str, key: str, more: str, database: Database
) -> None:
    database.run(ELSEWHERE.format(kind=kind, key=key, more=more))
    database.run(f"alter database {database.name} set search_path = {path}")
    database.perform(InstallPgopt(1), Backfill("words", {"n": "1"}), settings=SMALL)
    assert database.rows("select n, count(*) from words group by n") == [(1, 400)]


def test_a_script_refuses_a_key_that_it_would_compare_by_operators_of_another_type(database: Database) -> None:
    database.run(ELSEWHERE.format(kind="citext", key="word, number", more="''"))
    script = database.script(Backfill("words", {"n": "1"}, key=["word", "number"]))
    with pytest.raises(AssertionError, match="whose operators are not on the search_path: add schema ext to that"):
        database.psql(script)
    assert database.value("select count(n) from words") == 0
    database.run(f"alter database {database.name} set search_path = public, ext")
    database.psql(script)
    assert database.value("select count(n) from words") == 400


KINDS = {
    "regclass": "(array['pg_class', 'pg_type', 'pg_proc', 'pg_index'])[1 + g % 4]::regclass",
    "varchar(5)": "'a' || g % 4",
    "char(3)": "'a' || g % 4",
    "bit(2)": "(g % 4)::bit(2)",
    '"char"': '(65 + g % 4)::"char"',
    "kind": "(array['two', 'one'])[1 + g % 2]::kind",
    "int[]": "array[g % 4]",
    "int4range": "int4range(0, g % 4)",
    "int4multirange": "int4multirange(int4range(0, 1 + g % 4))",
    "pair": "row(g % 4, 'x')::pair",
    "numeric(6, 2)": "g % 4",
}


@pytest.mark.parametrize(
    ("way", "kind"),
    # plpgsql has no list of variables with one for a composite value
    [*(("online", kind) for kind in KINDS), *(("script", kind) for kind in KINDS if kind != "pair")],
)
def test_a_key_may_be_of_any_type_that_has_an_order(way: str, kind: str, database: Database) -> None:
    database.run("create type kind as enum ('two', 'one'); create type pair as (a int, b text)")
    database.run(f"create table things (kind {kind}, number int, n int, primary key (kind, number))")
    database.run(f"insert into things select {KINDS[kind]}, g from generate_series(1, 80) g")
    operation = Backfill("things", {"n": "1"}, key=["kind", "number"])
    if way == "script":
        database.psql(database.script(operation))
    else:
        database.perform(InstallPgopt(1), operation, settings=SMALL)
    assert database.rows("select n, count(*) from things group by n") == [(1, 80)]


def test_a_key_without_an_order_is_refused(database: Database) -> None:
    database.run("create table t (id json not null, n int); insert into t values ('1', 0)")
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match=r"column 'id' of public\.t is json, which has no order: say key="):
        database.perform(Backfill("t", {"n": "1"}, key=["id"]))


@pytest.mark.parametrize("way", ["online", "script"])
def test_a_comment_at_the_end_of_an_expression_takes_nothing_with_it(database: Database, way: str) -> None:
    database.run("create table t (id int primary key, n int)")
    database.run("insert into t select g, case when g > 5 then g end from generate_series(1, 10) g")
    filled = Backfill("t", {"n": "0 -- for those without"}, where="n is null -- alone", key=["id"])
    database.perform(InstallPgopt(1))
    if way == "online":
        database.perform(filled)
    else:
        database.psql(database.script(filled))
    database.perform(
        AddColumnOnline("t", "m", "int -- whole", default="5 -- five", nullable=False),
        AddColumnOnline("t", "v", "int", default="(random() * 0 + 6)::int -- six", nullable=False),
    )
    assert database.rows("select n, m, v from t order by id") == [(0, 5, 6)] * 5 + [(n, 5, 6) for n in range(6, 11)]
    assert (
        database.value(
            "select count(*) from pg_attribute where attrelid = 't'::regclass and attname in ('m', 'v') and attnotnull"
        )
        == 2
    )


@pytest.mark.parametrize("way", ["online", "script"])
def test_a_key_that_may_be_null_is_refused(database: Database, way: str) -> None:
    database.run("create table t (id int primary key, n int); insert into t values (1, 1), (2, null)")
    database.perform(InstallPgopt(1))
    operation = Backfill("t", {"id": "id"}, key=["n"], schema="public")
    carry_out = database.perform if way == "online" else lambda each: database.psql(database.script(each))
    with pytest.raises(
        (InvalidOperation, AssertionError), match=r"column '?n'? of public\.t may be NULL, and rows with"
    ):
        carry_out(operation)


def test_a_not_null_that_was_not_validated_makes_no_key(database: Database, major: int) -> None:
    if major < 18:
        return
    database.run(
        "create table t (id int unique, n int); insert into t values (1), (null);"
        " alter table t add constraint filled not null id not valid"
    )
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match="no primary key and no unique index without NULLs"):
        database.perform(Backfill("t", {"n": "1"}))


def test_bytes_are_bytes_and_what_is_written_in_other_ways_is_refused(database: Database) -> None:
    database.run("create table t (id int primary key, b bytea, a int[]); insert into t values (1)")
    database.perform(InstallPgopt(1), Backfill("t", {"b": b"abc"}), AddColumnOnline("t", "c", "bytea", default=b"\0"))
    assert database.rows("select b, c from t") == [(b"abc", b"\0")]
    with pytest.raises(InvalidOperation, match="the value of column 'a' of t is a tuple: write it in SQL, as a text"):
        Backfill("t", {"a": [1, 2]})
    with pytest.raises(InvalidOperation, match="the value of column 'j' of t is a dict"):
        AddColumnOnline("t", "j", "jsonb", default={"a": 1})


@pytest.mark.parametrize(
    "operation", [Backfill("p", {"x": "'done'"}), AddColumnOnline("p", "y", "int", default="(random() * 0)::int")]
)
def test_the_rows_of_inheritance_children_are_set_too(database: Database, operation: Operation) -> None:
    database.run(
        "create table p (id int primary key, x text); create table c (primary key (id)) inherits (p);"
        " create table d (primary key (id)) inherits (c); insert into p values (1); insert into c values (2); insert into d values (3)"
    )
    database.perform(InstallPgopt(1), operation)
    assert database.value(f"select count({'x' if isinstance(operation, Backfill) else 'y'}) from p") == 3
    with pytest.raises(AssertionError, match="p has children, which the plan has not seen: run this revision online"):
        database.psql(database.script(Backfill("p", {"x": "'again'"}, key=["id"])))
    assert database.value("select count(*) from p where x = 'again'") == 0


OWN_KEYS = """
create table p (id int, a numeric, b int, v int default 0) partition by list ((id % 2));
create table p0 partition of p for values in (0);
create table p1 partition of p for values in (1) partition by range (b, lower(v::text));
create table p11 partition of p1 default;
alter table p0 add primary key (a);
create table made (id int, k int generated always as (id * 2) stored primary key);
create table parent (id int primary key, a int);
create table child (primary key (a)) inherits (parent);
"""


def test_what_tells_rows_apart_is_not_set_in_a_script_either(database: Database, tmp_path: Path) -> None:
    project = Project.with_run(tmp_path, database.server.url(database.name))
    project.revision("a", "op.backfill('k', set={'id': 'id + 1'}, key=['id'])")
    assert "column 'id' is part of the key by which batches go through" in project.refused("upgrade", "head", "--sql")


def test_a_materialized_view_is_not_filled(database: Database) -> None:
    database.run("create materialized view v as select 1 as a")
    database.perform(InstallPgopt(version=1))
    with pytest.raises(InvalidOperation, match=r"public.v is a materialized view, whose rows come from its query"):
        database.perform(Backfill("v", {"a": "2"}))


def test_the_schema_stays_while_a_chain_has_batches_that_has_not_asked_for_it(
    database: Database, tmp_path: Path
) -> None:
    database.run("create table t (id int primary key, v int); insert into t select g, 0 from generate_series(1, 100) g")
    url = database.server.url(database.name)
    first, second = projects = [
        Project.with_run(tmp_path / "one", url),
        Project.with_run(tmp_path / "two", url, "version_table='v2'"),
    ]
    first.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    second.revision("a", "pass", "pass")
    for each in projects:
        each.upgrade()
    second.revision("b", "op.backfill('t', set={'v': 'v + 1'})\nop.execute('select 1 / 0')")
    second.call("upgrade", "head")
    said = first.refused("downgrade", "base")
    assert "revision b (of v2) is half-done, as the pgopt schema remembers: finish it, or take it back, first" in said
    second.revision("b", "op.backfill('t', set={'v': 'v + 1'})", after="a")
    second.upgrade()
    assert database.value("select sum(v) from t") == 100
    first.downgrade("base")


@pytest.mark.parametrize(
    ("table", "column", "said"),
    [
        ("p", "a", "column 'a' is part of the key by which batches go through public.p0"),
        ("parent", "a", "column 'a' is part of the key by which batches go through public.child"),
        ("made", "id", "column 'id' is part of the key by which batches go through public.made"),
        ("p", "id", "public.p is partitioned by column 'id', and batches cannot move rows to other partitions"),
        ("p", "b", "public.p1 is partitioned by column 'b', and batches cannot move rows to other partitions"),
        ("p", "v", "public.p1 is partitioned by column 'v', and batches cannot move rows to other partitions"),
    ],
)
def test_what_tells_rows_or_partitions_apart_is_not_set_in_batches(
    database: Database, table: str, column: str, said: str
) -> None:
    database.run(OWN_KEYS)
    database.perform(InstallPgopt(version=1))
    with pytest.raises(InvalidOperation, match=said):
        database.perform(Backfill(table, {column: f"{column} + 1"}))
