"""Partitions that are split and merged: what is written meanwhile, what is refused, and what has come in between."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from pgopt import IntRange, InvalidOperation, Monthly
from pgopt.operations import (
    AddColumnOnline,
    InstallPgopt,
    ManagePartitions,
    MergePartitions,
    PartitionTable,
    SplitPartition,
    UninstallPgopt,
)
from tests.contract.examples.single_partitions import FULL, THREE, TINY
from tests.contract.ledger import Writer, at_work, expected, owners
from tests.contract.test_lossless import in_table
from tests.databases import PATIENT, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgopt.operations import Operation
    from tests.databases import Database

SPLIT = SplitPartition("tiny", "tiny_old", **THREE)  # type: ignore[arg-type]
MERGE = SPLIT.reverse()


def between(database: Database, operation: Operation, then: Callable[[str], object]) -> None:
    """Carry an operation out, and do something in another session before each of its steps."""

    @contextmanager
    def look(_: Any, step: Any) -> Iterator[None]:
        then(step.label)
        yield

    database.perform(operation, pgopt_tracer=look)


def rows(database: Database, table: str = "tiny") -> dict[int, int | None]:
    found = database.rows(f"select * from {table}")
    assert len(found) == len(dict(found))
    return dict(found)


def partitions(database: Database, table: str = "tiny") -> list[str]:
    return [
        name
        for (name,) in database.rows(
            f"select inhrelid::regclass::text from pg_inherits where inhparent = '{table}'::regclass order by inhrelid"
        )
    ]


def test_the_ledger_is_right_after_a_split_and_a_merge(database: Database) -> None:
    owned = owners(database, 3, upserts=False)
    database.perform(
        InstallPgopt(1), PartitionTable("accounts", IntRange("id", step=10_000_000), widen_keys=True, method="attach")
    )
    split = SplitPartition("accounts", "accounts_phistory", by=IntRange("id", step=1_000_000), start="0")
    with at_work([Writer(database, owner) for owner in owned]) as more:
        for operation in (split, split.reverse(), split):
            database.perform(operation, settings=PATIENT)
            more()
        wait_until("all kinds of writes", lambda: all(owner.complete for owner in owned))
    assert in_table(database) == expected(owned)
    assert database.value("select count(*) from accounts_p1000000") > 0


@pytest.mark.parametrize("operation", [SPLIT, MERGE], ids=["split", "merge"])
def test_what_is_written_to_the_partitions_themselves_is_not_lost(database: Database, operation: Operation) -> None:
    database.run(TINY)
    database.perform(InstallPgopt(1), *([SPLIT] if operation is MERGE else []))
    parts = (
        {"tiny_old": (0, 30)} if operation is SPLIT else {"tiny_0": (0, 10), "tiny_10": (10, 20), "tiny_20": (20, 30)}
    )
    wanted = rows(database)

    def write(label: str) -> None:
        turn = len(told)
        for part, (first, last) in parts.items():
            if turn % 3 == 0:
                database.run(f"delete from {part} where id = {first + turn % 10}")
                wanted.pop(first + turn % 10, None)
            else:
                database.run(
                    f"insert into {part} values ({last - 1}, {turn}) on conflict (id) do update set n = {turn}"
                )
                wanted[last - 1] = turn
            database.run(f"update {part} set n = {turn} where id = {first + 2}")
            if first + 2 in wanted:
                wanted[first + 2] = turn
        told.append(label)

    told: list[str] = []
    between(database, operation, write)
    assert len(told) > 8
    assert rows(database) == wanted


def test_keys_that_a_merge_gives_after_a_row_that_it_inserts_are_not_lost(database: Database) -> None:
    database.run(TINY)
    database.perform(InstallPgopt(1))
    database.run("delete from tiny where id between 0 and 4; insert into tiny values (1, 1)")
    wanted = {id_: n for id_, n in rows(database).items() if id_ != 1} | {0: 7, 2: 1}

    def merge(label: str) -> None:
        if label.startswith("swap "):
            # a nested loop, that the row which is inserted comes first
            database.run(
                "set enable_hashjoin = off; set enable_mergejoin = off;"
                " merge into tiny t using (values (0), (1)) s (id) on t.id = s.id"
                " when matched then update set id = 2 when not matched then insert values (s.id, 7)"
            )

    between(database, SPLIT, merge)
    assert rows(database) == wanted


@pytest.mark.parametrize("truncated", ["tiny", "tiny_old"])
@pytest.mark.parametrize("step", ["copy", "build", "swap"])
def test_what_is_truncated_meanwhile_does_not_come_back(database: Database, truncated: str, step: str) -> None:
    database.run(TINY)
    database.perform(InstallPgopt(1))

    def truncate(label: str) -> None:
        if label.startswith(step):
            database.run(f"truncate {truncated}; insert into tiny values (7, 7)")

    between(database, SPLIT, truncate)
    assert rows(database, "only tiny_0") == {7: 7}
    assert len(rows(database)) == (1 if truncated == "tiny" else 31)


def test_weeks_later_what_is_there_is_merged(database: Database) -> None:
    database.run(TINY)
    database.perform(InstallPgopt(1), SPLIT)
    database.run("alter table tiny detach partition tiny_10; drop table tiny_20")
    database.run(
        "create table again partition of tiny for values from (20) to (25); insert into tiny values (21, 3), (5000, 4)"
    )
    database.perform(MERGE)
    assert sorted(partitions(database)) == ["tiny_new", "tiny_old"]
    assert rows(database, "tiny_old") == {**dict.fromkeys(range(10)), 21: 3}
    assert database.value("select count(*) from tiny_10") == 10


def test_a_table_that_has_changed_since_is_asked_for_before_anything_is_copied(database: Database) -> None:
    database.run(TINY)
    database.perform(InstallPgopt(1), SPLIT, AddColumnOnline("tiny", "more", "int"))
    before = database.dump()
    with pytest.raises(InvalidOperation, match="tiny_old_pgopt_whole: it has no column more of type integer: add it"):
        database.perform(MERGE)
    assert database.dump() == before
    database.run("alter table tiny_old_pgopt_whole add column more int")
    database.perform(MERGE)
    assert database.value("select count(*) from tiny_old") == 30


def test_a_default_is_emptied_into_what_is_free_of_the_periods(database: Database) -> None:
    database.run(FULL)
    database.run("insert into tiny values (1003), (1999)")
    database.perform(InstallPgopt(1), SplitPartition("tiny", "tiny_rest", by=IntRange("id", step=10)))
    found = database.rows(
        "select c.relname, pg_get_expr(c.relpartbound, c.oid) from pg_inherits join pg_class c on c.oid = inhrelid"
        " where inhparent = 'tiny'::regclass and relname ~ '_p' order by c.oid"
    )
    assert found == [
        (
            f"tiny_p{name}",
            f"FOR VALUES FROM ({low}) TO ({high})" if low >= 0 else f"FOR VALUES FROM ('{low}') TO ({high})",
        )
        for name, low, high in [
            ("m10", -10, 0),
            (10, 10, 15),
            (20, 20, 30),
            (30, 30, 40),
            (1000, 1000, 1010),
            (1990, 1990, 2000),
        ]
    ]
    assert database.value("select count(*) from only tiny_rest") == 0
    assert len(rows(database)) == 36


def test_nobody_else_works_on_partitions_that_are_being_split(database: Database) -> None:
    database.run("create table few (id int primary key); insert into few select generate_series(1, 30)")
    database.perform(InstallPgopt(1), PartitionTable("few", IntRange("id", step=10), method="attach"))
    database.perform(ManagePartitions("few", premake=9))
    split = SplitPartition("few", "few_phistory")

    def stop(label: str) -> None:
        if label.startswith("compare"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        between(database, split, stop)
    said = "select action, detail from pgopt.maintain_partitions()"
    assert database.rows(said) == [("skipped", "it is being copied, or a partition of it is")]
    name = partitions(database, "few")[0]
    with pytest.raises(
        InvalidOperation, match=r"changes of public.few are noted already, for its way back or another copy"
    ):
        database.perform(SplitPartition("few", name, at=[45], into=["x", "y"]))
    database.perform(split.reverse())
    assert "created" in dict(database.rows(said))
    assert database.value("select count(*) from pg_trigger where tgname ~ '^pgopt_'") == 0


def test_what_was_split_is_remembered_until_it_is_merged(database: Database) -> None:
    database.run(TINY)
    database.perform(InstallPgopt(1), SPLIT)
    with pytest.raises(InvalidOperation, match=r"pgopt.split still holds what tiny_old of tiny were"):
        database.perform(UninstallPgopt(1))
    with pytest.raises(
        InvalidOperation, match=r"tiny_old of public.tiny is split already, but in another way: merge it first"
    ):
        database.perform(SplitPartition("tiny", "tiny_old", at=[5], into=["a", "b"]))
    database.run("insert into tiny_old_pgopt_whole values (1)")
    with pytest.raises(
        InvalidOperation, match="tiny_old_pgopt_whole, to which the pieces are to be merged, has rows of its own"
    ):
        database.perform(MERGE)


def test_a_table_of_which_partitions_were_split_is_not_let_go_of(database: Database) -> None:
    database.run("create table few (id int primary key); insert into few select generate_series(1, 30)")
    few = PartitionTable("few", IntRange("id", step=10), method="attach")
    split = SplitPartition("few", "few_phistory", start="0")
    database.perform(InstallPgopt(1), few, split)
    with pytest.raises(
        InvalidOperation, match=r"partitions of public\.few were split \(few_phistory\): op\.merge_partitions first"
    ):
        database.perform(few.reverse())
    database.perform(split.reverse(), few.reverse(), UninstallPgopt(1))
    assert len(database.rows("select from few")) == 30


def test_the_owner_of_the_tables_needs_no_more_rights(database: Database) -> None:
    database.run("create role splitter login; grant create, usage on schema public to splitter")
    try:
        database.run(f"grant create on database {database.name} to splitter; set role splitter; {TINY}")
        engine = database.engine()
        event.listen(engine, "connect", lambda connection, _: connection.execute("set session authorization splitter"))
        database.perform(InstallPgopt(1), SPLIT, MERGE, engine=engine)
        assert database.value("select pg_get_userbyid(relowner) from pg_class where relname = 'tiny_old'") == "splitter"
        assert len(rows(database)) == 60
    finally:
        database.run("drop owned by splitter cascade; drop role splitter")


@pytest.mark.parametrize(
    ("setup", "operation", "told"),
    [
        (
            "",
            SplitPartition("tiny", "tiny_old"),
            "pgopt does not know how public.tiny is partitioned: say by=, or at= and into=",
        ),
        ("", SplitPartition("tiny", "tiny_old", by=IntRange("n", step=5)), "is partitioned by id, and not by n"),
        ("", SplitPartition("tiny", "tiny_old", by=Monthly("id")), "column 'id' is integer: Monthly wants"),
        ("", SplitPartition("tiny", "tiny_old", at=[40], into=["a", "b"]), "there is nothing from 40 to 30"),
        ("", SplitPartition("tiny", "tiny_old", at=[9, 5], into=["a", "b", "c"]), "there is nothing from 9 to 5"),
        (
            "",
            SplitPartition("tiny", "tiny_old", at=[9], into=["a"]),
            "1 ends in at= cut public.tiny_old into 2 pieces, but into= names 1",
        ),
        (
            "",
            SplitPartition("tiny", "tiny_old", at=[9], into=["a", "tiny_new"]),
            "is to be called tiny_new, and there is one",
        ),
        ("", SplitPartition("tiny", "tiny"), "public.tiny is no partition of public.tiny"),
        ("create table t (id int)", SplitPartition("t", "t"), "public.t is not partitioned: only ranges are split"),
        ("", MergePartitions("tiny", "never"), "pgopt knows of no partition never of public.tiny that it has split"),
        (
            "create table t (at timestamptz primary key) partition by range (at); create table p partition of t default",
            SplitPartition("t", "p", at=["2026-01-01", "2026-02-01"], into=["q"]),
            r"'2026-01-01' of p depends on the time zone: say its offset, as in '2026-01-01\+00'",
        ),
        (
            "create table d partition of tiny default",
            SplitPartition("tiny", "d", at=[20, 40], into=["x"]),
            "tiny_old of public.tiny already holds part of these bounds",
        ),
        (
            "alter table tiny drop constraint tiny_pkey",
            SPLIT,
            "public.tiny has no primary key and no unique index without NULLs",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(database: Database, setup: str, operation: Operation, told: str) -> None:
    database.run(TINY + setup)
    database.perform(InstallPgopt(1))
    before = database.dump()
    with pytest.raises(InvalidOperation, match=told):
        database.perform(operation)
    assert database.dump() == before


def test_all_that_would_be_lost_is_told_at_once_with_its_way_out(database: Database) -> None:
    database.run(
        TINY
        + """
        create table to_tiny (id int references tiny_old); create table n (n int primary key);
        create view of_old as select * from tiny_old;
        create function f() returns trigger language plpgsql as 'begin return null; end';
        create trigger own after insert on tiny_old for each row execute function f();
        alter table tiny_old add constraint small check (id < 50); create unique index alone on tiny_old (n);
        create publication p for table tiny;
        """
    )
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation) as error:
        database.perform(SPLIT)
    for line in (
        "foreign key to_tiny_id_fkey of public.to_tiny refers to public.tiny_old itself, and would lose its rows: drop it",
        "constraint small is of public.tiny_old alone, and would not be kept: drop it, or make it one of public.tiny",
        "the unique index public.alone is of public.tiny_old alone, and would not be kept: drop it",
        "trigger own is of public.tiny_old alone: drop it, or make it one of public.tiny",
        "rule _RETURN on view public.of_old reads public.tiny_old itself: drop it before and create it after",
        "it is published by p, whose subscribers have no such partitions",
    ):
        assert line in str(error.value), str(error.value)
