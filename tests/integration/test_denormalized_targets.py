"""Columns that are kept in a partitioned table: rows that go from one partition to another, and partitions that come and go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgopt import IntRange, InvalidOperation
from pgopt.errors import StatementFailed
from pgopt.operations import (
    AttachPartition,
    DenormalizeAggregate,
    DenormalizeColumns,
    DetachPartition,
    InstallPgopt,
    PartitionTable,
    SplitPartition,
    VerifyDenormalized,
)
from pgopt.plan.events import Note
from tests.integration.test_denormalized import drift, views
from tests.integration.test_denormalized_beside_others import transaction, waiting

if TYPE_CHECKING:
    from tests.databases import Database

TABLES = """
create table people (who int primary key, name text);
create table tickets (id int, area int not null, author int, title text, primary key (id, area)) partition by list (area);
create table open_tickets partition of tickets for values in (1);
create table closed_tickets (title text, area int not null, author int, id int not null, primary key (id, area));
alter table tickets attach partition closed_tickets for values in (2, 4);
create index on tickets (author);
create table comments (id int generated always as identity primary key, ticket_id int, value int);
create index on comments (ticket_id);
insert into people values (1, 'one'), (2, 'two');
insert into tickets select g, g % 2 + 1, g % 3, 't' from generate_series(1, 6) g;
insert into comments (ticket_id, value) select g % 4 + 1, g from generate_series(1, 12) g;
"""
ADDED = DenormalizeAggregate(
    "tickets", source="comments", on={"id": "ticket_id"}, columns={"n": "count(*)", "best": "max(value)"}
)
READ = DenormalizeAggregate(
    "tickets", source="comments", on={"id": "ticket_id"}, columns={"listed": "array_agg(value order by id)"}
)
NAMED = DenormalizeColumns(
    "tickets", source="people", on={"author": "who"}, columns={"name": "name"}, defaults={"name": "'nobody'"}
)
KEPT = (ADDED, READ, NAMED)
LATER = tuple(replace(each, deferred="every 20 seconds") for each in KEPT)
MOVE = "update tickets set area = 3 - area where id = 1"
# each changes what is kept in ticket 1
CHANGES = {
    "added": "insert into comments (ticket_id, value) values (1, 99)",
    "deleted": "delete from comments where ticket_id = 1 and value = 12",
    "several": "update comments set ticket_id = 3 - ticket_id where ticket_id in (1, 2)",
    "copied": "update people set name = 'other' where who = 1",
    "truncated": "truncate comments",
}


@pytest.fixture
def tickets(database: Database) -> Database:
    """Tickets in two partitions, with their comments and authors."""
    database.run(TABLES)
    database.perform(InstallPgopt(1), *KEPT)
    return database


@pytest.fixture
def later(database: Database) -> Database:
    """The same, where a job folds in what was changed."""
    database.run(TABLES)
    database.perform(InstallPgopt(1), *LATER)
    return database


def right(database: Database) -> bool:
    """Whether nothing has drifted, when nothing waits."""
    database.run("call pgopt.fold()")
    with database.connect() as connection:
        return drift(connection, views(database)) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_who_waits_for_a_row_that_moves_finds_it_where_it_is(tickets: Database, change: str) -> None:
    with transaction(tickets) as mover, transaction(tickets) as writer:
        mover.execute(MOVE)
        with waiting(tickets, writer, change) as running:
            mover.execute("commit")
            running.result(20)
        writer.execute("commit")
    assert tickets.value("select area from tickets where id = 1") == 1
    assert right(tickets)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_row_that_moves_waits_for_who_changes_what_it_has_and_nobody_is_a_victim(
    tickets: Database, change: str
) -> None:
    with transaction(tickets) as mover, transaction(tickets) as writer:
        writer.execute(change)
        with waiting(tickets, mover, MOVE) as running:
            writer.execute("commit")
            running.result(20)
        mover.execute("commit")
    assert right(tickets)


@pytest.mark.parametrize("change", [CHANGES["added"], CHANGES["copied"]], ids=["counted", "copied"])
def test_a_row_that_has_left_does_not_wait_for_who_waits_for_it(tickets: Database, change: str) -> None:
    """The mover has the row when the writer has changed the source; then it moves it."""
    with transaction(tickets) as mover, transaction(tickets) as writer:
        mover.execute("update tickets set title = 'held' where id = 1")
        with waiting(tickets, writer, change) as running:
            mover.execute(MOVE)
            mover.execute("commit")
            running.result(20)
        writer.execute("commit")
    assert right(tickets)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_an_old_snapshot_is_refused(tickets: Database, level: str) -> None:
    with transaction(tickets, level) as old:
        tickets.run(MOVE)
        with pytest.raises(psycopg.errors.SerializationFailure):
            old.execute(CHANGES["added"])
    assert right(tickets)


@pytest.mark.parametrize(
    "first",
    ["", "update tickets set area = 4 where id = 1;", f"{MOVE}; {MOVE};"],
    ids=["at once", "after it stayed in its partition", "after it moved"],
)
def test_a_row_that_is_deleted_and_comes_again_is_a_new_one(tickets: Database, first: str) -> None:
    with transaction(tickets) as one, transaction(tickets) as other:
        one.execute(
            f"{first} with gone as (delete from tickets where id = 1 returning *)"
            " insert into tickets (id, area, author) select id, area, author from gone"
        )
        with waiting(tickets, other, CHANGES["added"]) as running:
            one.execute("commit")
            running.result(20)
        other.execute("commit")
    assert tickets.value("select n from tickets where id = 1") == 4
    assert right(tickets)


MOVES = (
    MOVE,
    "update tickets set area = 3 - area",
    "update tickets set area = 3 - area, author = 2, title = 'x' where id < 4",
    "update tickets set id = id + 100, area = 3 - area where id = 2",
    "update tickets set area = 3 - area, author = null where id = 3",
    "with c as (insert into comments (ticket_id, value) values (1, 50)) update tickets set area = 3 - area where id = 1",
    "merge into tickets t using (values (4)) v (id) on t.id = v.id when matched then update set area = 3 - area",
    "insert into open_tickets (id, area, author) values (9, 1, 1)",
    "insert into closed_tickets (id, area, author) values (30, 2, 1)",
    "update closed_tickets set author = 1; update open_tickets set id = id + 10 where id = 1",
    "begin; update tickets set area = 3 - area where id = 4; savepoint s; delete from tickets where id = 4; rollback to s; commit",
    "do $$ begin for n in 1..5 loop update tickets set area = 3 - area; insert into comments (ticket_id, value) values (4, n); end loop; end $$",
    "alter table tickets detach partition closed_tickets; update closed_tickets set id = id + 1000, author = 2; insert into closed_tickets (id, area) values (1, 2)",
)


@pytest.mark.parametrize("kept", ["tickets", "later"])
def test_rows_have_their_values_wherever_they_go(request: pytest.FixtureRequest, kept: str) -> None:
    database: Database = request.getfixturevalue(kept)
    for statement in MOVES:
        with database.connect() as connection:
            connection.execute(statement)
            assert drift(connection, views(database)) == [], statement
        assert right(database), statement
    assert database.value("select count(*) from tickets where name = 'one'") > 0


def test_a_row_that_moves_keeps_its_values_until_they_are_folded_in(later: Database) -> None:
    later.run(CHANGES["added"])
    later.run(MOVE)
    assert later.rows("select n, best, name from tickets where id = 1") == [(3, 12, "one")]
    later.run("update tickets set area = 3 - area, author = 0 where id = 1")
    assert later.rows("select n, name from tickets where id = 1") == [(3, "nobody")]
    assert right(later)


def test_folding_leaves_a_row_that_is_just_moving_and_finds_it_afterwards(later: Database) -> None:
    later.run(CHANGES["added"])
    with transaction(later) as mover, later.connect(options="-c lock_timeout=5s") as runner:
        mover.execute(MOVE)
        runner.execute("call pgopt.fold()")
        assert later.value("select sum(changes) from pgopt.deferred_columns") == 2
        mover.execute("commit")
    assert right(later)


def test_partitions_that_come_have_the_triggers_and_those_that_go_have_none(tickets: Database) -> None:
    tickets.run("create table new_tickets partition of tickets for values in (3)")
    tickets.run("insert into new_tickets (id, area, author) values (1, 3, 2); update tickets set area = 3 where id = 2")
    assert tickets.rows("select id, n, name from new_tickets order by id") == [(1, 3, "two"), (2, 3, "two")]
    assert right(tickets)
    tickets.run("alter table tickets detach partition new_tickets")
    assert tickets.rows("select tgname from pg_trigger where tgrelid = 'new_tickets'::regclass") == []
    tickets.run("update new_tickets set n = 77; alter table tickets attach partition new_tickets for values in (3)")
    with pytest.raises(StatementFailed, match=r"2 rows of public.tickets differ in n, best"):
        tickets.perform(VerifyDenormalized("tickets"))
    tickets.perform(VerifyDenormalized("tickets", repair=True), VerifyDenormalized("tickets"))
    tickets.perform(*(each.reverse() for each in KEPT))
    assert tickets.rows("select proname from pg_proc where proname like 'denormal\\_%'") == []


def test_a_partition_is_split_detached_and_attached_with_its_columns(database: Database) -> None:
    database.run(
        "create table t (id int primary key) partition by range (id); create table t_0 partition of t for values from (0) to (100);"
        " create table s (t_id int); create index on s (t_id); insert into t select generate_series(0, 99); insert into s select 7"
    )
    counted = DenormalizeAggregate("t", source="s", on={"id": "t_id"}, columns={"n": "count(*)"})
    split = SplitPartition("t", "t_0", at=["50"], into=["t_a", "t_b"])
    detached = DetachPartition("t", "t_a")
    database.perform(InstallPgopt(1), counted, split)
    database.run("insert into s values (7), (77)")
    assert database.rows("select id, n from t where n > 0 order by id") == [(7, 2), (77, 1)]
    database.perform(detached)
    database.run("insert into s values (8)")
    attached = AttachPartition("t", "t_a", lower="0", upper="50")
    (said,) = (event.text for event in database.perform(attached, attached) if isinstance(event, Note))
    assert "n of public.t are kept by triggers; rows of public.t_a keep the values they bring" in said
    assert "op.verify_denormalized('t', repair=True, schema='public')" in said
    with pytest.raises(StatementFailed, match=r"1 row of public.t differ in n .*: id 8 has n 0, and should have n 1"):
        database.perform(VerifyDenormalized("t"))
    database.perform(VerifyDenormalized("t", repair=True), split.reverse(), VerifyDenormalized("t"))
    database.run("insert into s values (8), (88)")
    assert database.rows("select id, n from t_0 where n > 0 order by id") == [(7, 2), (8, 2), (77, 1), (88, 1)]


@pytest.mark.parametrize("deferred", [None, "every 20 seconds"], ids=["at once", "deferred"])
def test_a_partitioned_table_may_have_them_from_itself(database: Database, deferred: str | None) -> None:
    database.run(
        "create table c (id int, area int, parent int, primary key (id, area)) partition by list (area); create index on c (parent);"
        " create table c_1 partition of c for values in (1); create table c_2 partition of c for values in (2);"
        " insert into c select g, g % 2 + 1, g / 3 from generate_series(1, 30) g"
    )
    counted = DenormalizeAggregate(
        "c", source="c", on={"id": "parent"}, columns={"n": "count(*)", "last": "max(id)"}, deferred=deferred
    )
    database.perform(InstallPgopt(1), counted)
    for statement in (
        "insert into c values (31, 1, 2), (32, 2, 31)",
        "update c set area = 3 - area",
        "update c set parent = 5, area = 3 - area where parent = 2",
        "update c_1 set id = id + 100 where id < 5",
        "delete from c where id > 25",
        (
            "merge into c using (values (10), (200)) v (i) on c.id = v.i when matched then update set area = 3 - area, parent = 1"
            " when not matched then insert values (v.i, 1, 10)"
        ),
        "truncate c_2",
    ):
        database.run(statement)
        assert right(database), statement
    database.perform(counted.reverse())


@pytest.mark.parametrize("kept", [0, 1], ids=["the target", "the source"])
def test_a_table_that_has_them_does_not_become_plain(database: Database, kept: int) -> None:
    database.run("create table t (id int primary key, t_id int); create index on t (t_id)")
    database.run("create table u (id int primary key, t_id int); create index on u (t_id)")
    name = ["t", "u"][kept]
    parted = PartitionTable(name, IntRange("id", step=100))
    denormalized = DenormalizeAggregate("t", source="u", on={"id": "t_id"}, columns={"n": "count(*)"})
    database.perform(InstallPgopt(1), parted, denormalized)
    with pytest.raises(
        InvalidOperation, match=r"trigger zz_pgopt_\w+ keeps columns by it: drop the denormalized columns"
    ):
        database.perform(parted.reverse())
    database.run("insert into t (id) values (1); insert into u values (1, 1)")
    assert database.value("select n from t") == 1
    database.perform(denormalized.reverse(), parted.reverse())


@pytest.mark.parametrize("kept", [KEPT, LATER], ids=["at once", "deferred"])
def test_an_owner_who_is_no_superuser_can_do_it_and_writers_need_no_rights(
    database: Database, kept: tuple[DenormalizeAggregate | DenormalizeColumns, ...]
) -> None:
    database.run("create role owner_of_all; create role writer")
    try:
        database.run(
            f"grant create on database {database.name} to owner_of_all; grant all on schema public to owner_of_all;"
            " grant usage on schema public to writer; set role owner_of_all;"
            f" {TABLES}; grant select, insert, update, delete on tickets, open_tickets, comments to writer"
        )
        engine = database.engine(connect_args={"options": "-c role=owner_of_all"})
        before = database.dump()
        database.perform(InstallPgopt(1), *kept, engine=engine)
        database.run(f"set role writer; {MOVE}; {CHANGES['added']}; insert into open_tickets (id, area) values (50, 1)")
        database.run("set role writer; delete from comments where ticket_id = 2; delete from tickets where id = 3")
        with database.connect(options="-c role=owner_of_all") as owner:
            owner.execute("call pgopt.fold()")
            assert drift(owner, views(database)) == []
        database.perform(*(each.reverse() for each in reversed(kept)), engine=engine)
        assert database.dump() == before
    finally:
        database.run("drop owned by owner_of_all; drop owned by writer; drop role owner_of_all; drop role writer")


def test_no_partition_and_an_empty_one_will_do(database: Database) -> None:
    database.run(
        "create table t (id int primary key, area int) partition by hash (id); create table s (t_id int, v int)"
    )
    database.run("create index on s (t_id)")
    kept = DenormalizeAggregate("t", source="s", on={"id": "t_id"}, columns={"n": "count(*)"})
    database.perform(InstallPgopt(1), kept)
    database.run("create table t_0 partition of t for values with (modulus 1, remainder 0)")
    database.run("insert into s values (1, 1); insert into t values (1, 1); insert into s values (1, 1)")
    assert database.value("select n from t") == 2
    database.perform(VerifyDenormalized("t", repair=True), kept.reverse())
