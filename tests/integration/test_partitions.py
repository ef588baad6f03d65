"""Becoming partitioned, and the way back: what is refused, and what happens to a table in the middle of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pgopt import Daily, Hash, IntRange, InvalidOperation, ListOf, Monthly, NotInstalled, PgoptError
from pgopt.operations import FinalizePartitioning, InstallPgopt, PartitionTable, SplitPartition, UnpartitionTable
from pgopt.plan.events import Note, StepFinished, StepStarted
from tests.databases import wait_until
from tests.servers import major_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgopt.operations import Operation
    from pgopt.plan.events import Event
    from tests.databases import Database

LOGS = """
create table logs (id int primary key, at date not null, note text);
insert into logs select g, date '2026-06-01' + g % 150, 'note ' || g from generate_series(1, 3000) g;
"""
BY_MONTH = PartitionTable("logs", Monthly("at"), widen_keys=True)


@pytest.fixture
def logs(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    database.run(LOGS)
    return database


def refused(database: Database, operation: Operation, kind: type[PgoptError] = InvalidOperation) -> str:
    """The error with which an operation is refused, before anything is changed."""
    schema, rows = database.dump(), database.contents()
    with pytest.raises(kind) as error:
        database.perform(operation)
    assert database.dump() == schema
    assert database.contents() == rows
    return str(error.value)


def interrupting(at: str, work: Callable[[], object]) -> Callable[[Event], None]:
    """Do something else when a step begins."""

    def report(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.startswith(at):
            work()

    return report


def perform(database: Database, operation: Operation, report: Callable[[Event], None]) -> None:
    from alembic.operations import Operations

    with database.migration(pgopt_report=report) as context, context.begin_transaction(_per_migration=True):
        Operations(context).invoke(operation)


# -- before anything is changed ------------------------------------------------------------------------------------------


def test_all_obstacles_are_told_at_once(logs: Database) -> None:
    logs.run(
        """
        create table people (id int primary key, log int constraint in_log references logs);
        create materialized view per_day as select at, count(*) from logs group by at;
        create view names as select id, note from logs group by id;
        create rule r as on delete to logs do also select 1;
        create function took(logs) returns int language sql as 'select 1';
        create function counted() returns bigint language sql begin atomic select count(*) from logs; end;
        create function f() returns trigger language plpgsql as 'begin return null; end';
        create trigger t after insert on logs referencing new table as n for each row execute function f();
        alter table logs add constraint positive check (id > 0) not valid;
        alter table logs alter column at drop not null;
        create publication p for table logs;
        alter table logs add exclude using btree (id with =);
        """
    )
    told = refused(logs, PartitionTable("logs", Monthly("at")))
    for line in (
        "column 'at' may be NULL, which no partition holds: op.set_not_null_online('logs', 'at') first",
        "it has the rule r",
        "exclusion constraint logs_id_excl",
        "trigger t is for each row and has transition tables",
        "constraint positive is NOT VALID",
        "it is published by p: publish='root'",
        "function counted() is bound to the table itself",
        "function took(logs) uses its row type",
        "view names groups by the key logs_pkey",
        "unique key logs_pkey (id) does not contain at",
        "foreign key in_log of public.people refers to it",
    ):
        assert line in told, told


@pytest.mark.parametrize(
    ("setup", "operation", "told"),
    [
        ("", PartitionTable("logs", Monthly("nowhere")), "it has no column 'nowhere': it has id, at, note"),
        (
            "alter table logs alter note set not null",
            PartitionTable("logs", Monthly("note"), widen_keys=True),
            "column 'note' is text",
        ),
        (
            "alter table logs drop constraint logs_pkey",
            PartitionTable("logs", Monthly("at")),
            "has no primary key and no unique index",
        ),
        (
            "insert into logs values (0, 'infinity', '')",
            BY_MONTH,
            "rows with an infinite at, which no partition holds",
        ),
        (
            "insert into logs values (0, '0001-01-01', '')",
            PartitionTable("logs", Daily("at"), widen_keys=True),
            "more than 1000 partitions: say start=",
        ),
        (
            "insert into logs values (2000000000, now(), '')",
            PartitionTable("logs", IntRange("id", 10), widen_keys=True),
            "more than 1000 partitions: say start=",
        ),
        (
            "alter table logs alter note set not null",
            PartitionTable("logs", ListOf("note", {"one": ["note 1"]}), widen_keys=True),
            "have a note that is in no list",
        ),
        (
            "insert into logs values (0, date '2100-01-01', '')",
            PartitionTable("logs", Monthly("at"), method="attach", widen_keys=True),
            "not all of its first partition, which ends at",
        ),
        (
            "create table parts (id int) partition by hash (id)",
            PartitionTable("parts", Hash("id", 2)),
            "public.parts is partitioned already, by HASH (id)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusal_is_one_clear_error(logs: Database, setup: str, operation: Operation, told: str) -> None:
    if setup:
        logs.run(setup)
    assert told in refused(logs, operation, PgoptError)


def test_memory_is_needed(database: Database) -> None:
    database.run(LOGS)
    assert "op.install_pgopt(version=1)" in refused(database, BY_MONTH, NotInstalled)


def test_rows_that_a_policy_hides_are_not_lost(logs: Database) -> None:
    logs.run(
        "create role hidden login; grant create, usage on schema public to hidden; grant all on schema pgopt to hidden;"
        " grant all on all tables in schema pgopt to hidden; grant execute on all functions in schema pgopt to hidden;"
        " alter table logs owner to hidden; alter table logs enable row level security, force row level security;"
        " create policy even on logs using (id % 2 = 0)"
    )
    before = logs.dump()
    engine = logs.engine()
    from sqlalchemy import event

    event.listen(engine, "connect", lambda connection, _: connection.execute("set role hidden"))
    with pytest.raises(PgoptError, match="row-level security"):
        logs.perform(BY_MONTH, engine=engine)
    logs.perform(BY_MONTH.reverse())
    assert logs.dump() == before
    assert logs.value("select count(*) from logs") == 3000


# -- in the middle of it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["copy ", "build logs_pkey", "compare ", "swap "])
@pytest.mark.parametrize(
    "change",
    [
        "truncate logs",
        "truncate logs; insert into logs values (1, '2026-07-07', 'after'), (5000, '2026-07-08', 'after')",
        "update logs set id = -id, at = at + 20",
        "delete from logs where id % 3 = 0; insert into logs select id + 10000, at, note from logs",
        "insert into logs values (9999, '2031-03-03', 'later than all'), (9998, '1999-01-01', 'sooner than all')",
    ],
    ids=lambda text: text[:22],
)
def test_what_is_written_in_the_middle_is_there(logs: Database, at: str, change: str) -> None:
    perform(logs, BY_MONTH, interrupting(at, lambda: logs.run(change)))
    logs.run("create table wanted as table logs with no data")
    logs.run(LOGS.split(";")[1].replace("into logs", "into wanted") + ";" + change.replace("logs", "wanted"))
    assert logs.rows("select * from logs order by id") == logs.rows("select * from wanted order by id")
    logs.run("update logs set note = 'new' where id % 7 = 0; update wanted set note = 'new' where id % 7 = 0")
    perform(
        logs,
        BY_MONTH.reverse(),
        interrupting("swap ", lambda: logs.run("insert into logs values (77777, '2026-08-08')")),
    )
    logs.run("insert into wanted values (77777, '2026-08-08')")
    assert logs.rows("select * from logs order by id") == logs.rows("select * from wanted order by id")


# a nested loop, that the row which is inserted comes first
MERGE = """
    set enable_hashjoin = off; set enable_mergejoin = off;
    merge into logs l using (values (90001), (1), (2), (3)) s (id) on l.id = s.id
    when matched then update set id = s.id + 50000
    when not matched then insert values (s.id, '2026-07-07', 'new')
"""


def test_keys_that_a_merge_gives_after_a_row_that_it_inserts_are_there_on_the_way_back(logs: Database) -> None:
    logs.run("create table wanted as table logs")
    logs.perform(BY_MONTH)
    logs.run(MERGE + ";" + MERGE.replace("into logs", "into wanted"))
    logs.perform(BY_MONTH.reverse())
    assert logs.rows("select * from logs order by id") == logs.rows("select * from wanted order by id")


@pytest.mark.parametrize(
    "text", ["$pgopt_compare$", "$pgopt$", "$pgopt$ $pgopt1$; drop table logs; --", "'; \\$$ %s {}"]
)
def test_a_key_is_a_text_whatever_it_says(logs: Database, text: str) -> None:
    logs.run("alter table logs drop constraint logs_pkey, alter id type text, add primary key (id)")
    with logs.connect() as connection:
        connection.execute("update logs set id = %s || id", [text])
    before = logs.rows("select * from logs order by id")
    for operation in (BY_MONTH, FinalizePartitioning("logs"), BY_MONTH.reverse()):
        logs.perform(operation)
        assert logs.rows("select * from logs order by id") == before


def test_a_table_that_is_made_anew_while_it_is_copied(logs: Database) -> None:
    rows = logs.contents()
    done: list[str] = []

    def report(told: Any) -> None:
        if getattr(told, "label", "").startswith("copy ") and not isinstance(told, StepFinished) and len(done) < 2:
            done.append("full")
            logs.run("vacuum full logs")

    with logs.migration(pgopt_report=report, settings={"batch_rows": 200, "batch_most": 200}) as context:
        from alembic.operations import Operations

        with context.begin_transaction(_per_migration=True):
            Operations(context).invoke(BY_MONTH)
    assert done == ["full", "full"]
    assert logs.contents() == rows


def test_a_partition_that_is_truncated_is_gone_on_the_way_back(logs: Database) -> None:
    logs.perform(BY_MONTH)
    logs.run("truncate logs_p202607; insert into logs values (8000, '2026-07-15', 'after')")
    rows = logs.contents()
    assert logs.value("select count(*) from logs where at between '2026-07-01' and '2026-07-31'") == 1
    logs.perform(BY_MONTH.reverse())
    assert logs.contents() == rows


def test_writes_to_a_partition_itself_are_noted(logs: Database) -> None:
    logs.perform(BY_MONTH)
    logs.run(
        "update logs_p202607 set note = 'direct'; delete from logs_p202608 where id % 2 = 0;"
        " insert into logs_p202609 values (8000, '2026-09-09', 'direct')"
    )
    rows = logs.contents()
    logs.perform(BY_MONTH.reverse())
    assert logs.contents() == rows


@pytest.mark.parametrize("method", ["copy", "attach"])
def test_what_a_table_was_is_not_thrown_away(logs: Database, method: Any) -> None:
    operation = PartitionTable("logs", Monthly("at"), method=method, widen_keys=True)
    before = logs.dump()
    logs.perform(operation)
    if method == "copy":
        logs.perform(FinalizePartitioning("logs"))
    assert "pgopt.partitioned still holds what logs were" in refused(logs, InstallPgopt(1).reverse())
    logs.perform(operation.reverse(), InstallPgopt(1).reverse())
    assert logs.dump() == before


# -- the way back --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["copy", "attach"])
def test_the_way_back_refuses_keys_that_are_there_twice(logs: Database, method: Any) -> None:
    operation = PartitionTable("logs", Monthly("at"), method=method, widen_keys=True)
    logs.perform(operation)
    logs.run("insert into logs values (7, '2026-06-20', 'a second seven')")
    assert "to its key logs_pkey without at: some keys are there more than once by now (id: 7)" in refused(
        logs, operation.reverse()
    )
    logs.run("delete from logs where note = 'a second seven'")
    logs.perform(operation.reverse())
    assert logs.value("select count(*) from logs") == 3000


def test_the_way_back_refuses_orphans_of_keys_that_are_given_back(logs: Database) -> None:
    logs.run(
        "create table people (id int primary key, log int constraint in_log references logs); insert into people values (1, 5)"
    )
    before = logs.dump()
    operation = PartitionTable("logs", Monthly("at"), widen_keys=True, incoming="drop")
    logs.perform(operation)
    logs.run("insert into people values (2, 99999)")
    assert "foreign key in_log of public.people cannot be given back: 1 rows" in refused(logs, operation.reverse())
    logs.run("delete from people where id = 2")
    logs.perform(operation.reverse())
    assert logs.dump() == before


def test_the_way_back_after_an_attachment_copies_what_came_since(logs: Database) -> None:
    before = logs.dump()
    operation = PartitionTable("logs", Monthly("at"), method="attach", widen_keys=True)
    logs.perform(operation)
    logs.run("insert into logs select 5000, (current_date + interval '4 months')::date, 'in a new partition'")
    rows = logs.contents()
    logs.perform(operation.reverse())
    assert logs.dump() == before
    assert logs.contents() == rows


STATISTICS = (
    "select attname, null_frac, n_distinct, most_common_vals::text, histogram_bounds::text, correlation from pg_stats"
)


@pytest.mark.parametrize(
    ("change", "given"),
    [
        ("", True),
        (
            "alter table logs add tags text[], add span int4range; update logs set tags = '{a}', span = '[1, 9)'",
            True,
        ),
        ("create statistics together on id, at from logs", False),
        ("alter table logs add later int", False),
        ("update logs set note = 'new'", False),
    ],
    ids=["analyzed", "arrays and ranges", "extended statistics", "a column that came later", "changed since"],
)
def test_what_the_planner_knew_of_an_attached_table_it_knows_of_the_whole(
    logs: Database, change: str, *, given: bool
) -> None:
    counted = "select n_tup_ins = 3000 from pg_stat_all_tables where relid = 'logs'::regclass"
    wait_until("the rows are counted", lambda: logs.value(counted))
    # nobody else looks at what was changed since
    logs.run("alter table logs set (autovacuum_enabled = off); analyze logs")
    if change:
        logs.run(f"{change}; select pg_stat_force_next_flush()")
    if given:
        logs.run("analyze logs")
    told: list[Event] = []
    perform(logs, replace(BY_MONTH, method="attach"), told.append)
    given = given and major_version() >= 18
    assert ("analyze logs" in [event.label for event in told if isinstance(event, StepFinished)]) != given
    assert logs.value("select reltuples from pg_class where oid = 'logs'::regclass") == 3000
    whole, part = (
        logs.rows(f"{STATISTICS} where tablename = '{name}' and inherited = {of_all} order by 1")
        for name, of_all in (("logs", True), ("logs_phistory", False))
    )
    assert len(whole) == logs.value(
        "select count(*) from pg_attribute where attrelid = 'logs'::regclass and attnum > 0"
    )
    assert not given or whole == part


def test_what_was_told_of_a_column_is_not_lost_silently(logs: Database) -> None:
    logs.run(
        'alter table logs add "n %" int; alter table logs alter "n %" set (n_distinct = -0.5), alter note set (n_distinct_inherited = 9)'
    )
    told = [event.text for event in logs.perform(BY_MONTH) if isinstance(event, Note)]
    assert [text for text in told if "n_distinct" in text] == [
        'n_distinct of "n %" is not read where a table is partitioned: say n_distinct_inherited of it, and n_distinct on its partitions'
    ]
    logs.perform(BY_MONTH.reverse())
    logs.run('alter table logs alter "n %" set (n_distinct_inherited = -0.5)')
    assert not [event for event in logs.perform(BY_MONTH) if isinstance(event, Note) and "n_distinct" in event.text]


def test_no_search_path_deceives_it_in_what_the_planner_knows(logs: Database) -> None:
    logs.run("create schema evil; create view evil.pg_stats as select 1 as boom; analyze logs")
    logs.run(f'alter database {logs.name} set search_path = evil, "$user", public, pg_catalog')
    logs.perform(replace(BY_MONTH, method="attach"))
    assert logs.value("select reltuples from pg_class where oid = 'logs'::regclass") == 3000


def test_a_bound_that_has_come_near_is_taken_away(logs: Database) -> None:
    operation = PartitionTable("logs", Daily("at"), method="attach", widen_keys=True)
    logs.run("update logs set at = current_date - 1 - id % 5")

    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        perform(logs, operation, interrupting("attach ", stop))
    # as if days had passed
    logs.run(
        "alter table logs drop constraint logs_pgopt_bound;"
        " alter table logs add constraint logs_pgopt_bound check (at is not null and at < current_date);"
        " update pgopt.partitioned set was = jsonb_set(was, '{bound}', to_jsonb(current_date::text))"
    )
    logs.perform(operation)
    assert logs.value("select pg_get_expr(relpartbound, oid) from pg_class where relname = 'logs_phistory'") == (
        f"FOR VALUES FROM (MINVALUE) TO ('{logs.value('select current_date + 3')}')"
    )
    assert logs.value("select count(*) from logs") == 3000


def test_a_table_that_was_always_partitioned_becomes_plain(database: Database) -> None:
    database.perform(InstallPgopt(1))
    database.run(
        "create table events (id int, at date, primary key (id, at)) partition by range (at);"
        " create table events_1 partition of events for values from ('2026-01-01') to ('2026-07-01');"
        " create table events_2 partition of events for values from ('2026-07-01') to ('2027-01-01');"
        " insert into events select g, date '2026-01-01' + g % 360 from generate_series(1, 900) g"
    )
    rows = database.contents()
    database.perform(UnpartitionTable("events"))
    assert database.value("select relkind::text from pg_class where relname = 'events'") == "r"
    assert database.contents() == rows


def test_foreign_keys_that_an_interrupted_run_left_to_the_partitions_come_along(logs: Database) -> None:
    logs.run(
        """
        create table people (id int primary key);
        insert into people select generate_series(0, 9);
        alter table logs add author int not null generated always as (id % 10) stored;
        alter table logs add constraint by_author foreign key (author) references people;
        """
    )
    before = logs.dump()
    logs.perform(BY_MONTH)
    # as before 18, where the parent adopts what each partition has got
    logs.run(
        """
        alter table logs drop constraint by_author;
        do $$ declare part regclass; begin
            for part in select relid from pg_partition_tree('logs') where isleaf loop
                execute format('alter table %s add constraint by_author foreign key (author) references people not valid', part);
            end loop;
        end $$;
        """
    )
    logs.perform(BY_MONTH.reverse())
    assert logs.dump() == before


# -- where it begins -----------------------------------------------------------------------------------------------------

KEYED = """
create table keyed (id uuid primary key); create table ticks (at bigint primary key);
insert into keyed select (lpad(to_hex((extract(epoch from d) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
    from generate_series(timestamptz '2025-11-02 00:00+00', timestamptz '2026-05-02 00:00+00', '1 month') d;
insert into ticks select extract(epoch from d)::bigint * 1000
    from generate_series(timestamptz '2025-11-02 00:00+00', timestamptz '2026-05-02 00:00+00', '1 month') d;
"""


@pytest.mark.parametrize("start", ["2026-03-01", "2026-03-15 12:00+02"])
@pytest.mark.parametrize(
    ("by", "table"), [(Monthly("id"), "keyed"), (Monthly("at", epoch="ms"), "ticks")], ids=["uuid", "epoch"]
)
def test_where_it_begins_may_be_said_as_an_instant(database: Database, by: Monthly, table: str, start: str) -> None:
    database.perform(InstallPgopt(1))
    database.run(KEYED)
    database.perform(PartitionTable(table, by, start=start))
    names = [name for (name,) in database.rows(f"select relid::text from pg_partition_tree('{table}') where isleaf")]
    assert sorted(names)[:3] == [f"{table}_p202603", f"{table}_p202604", f"{table}_p202605"]
    assert database.value(f"select count(*) from {table}_pbefore") == 4


@pytest.mark.parametrize("start", ["019cabd8-3800-7000-8000-000000000000", "2026-03-01 00:00+00"])
def test_where_pieces_begin_may_be_said_as_an_instant(database: Database, start: str) -> None:
    database.perform(InstallPgopt(1))
    database.run(KEYED)
    database.perform(PartitionTable("keyed", Monthly("id"), method="attach"))
    database.perform(SplitPartition("keyed", "keyed_phistory", start=start))
    assert database.value("select count(*) from keyed_pbefore") == 4
    assert database.value("select count(*) from keyed_p202603") == 1
