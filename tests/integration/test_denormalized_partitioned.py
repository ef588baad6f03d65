"""Columns that are kept from a partitioned table: statements aimed at partitions, and partitions that come and go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation
from pgopt.errors import StatementFailed
from pgopt.operations import (
    AttachPartition,
    DenormalizeAggregate,
    DetachPartition,
    InstallPgopt,
    ManagePartitions,
    VerifyDenormalized,
)
from tests.integration.test_denormalized import drift, views

if TYPE_CHECKING:
    from tests.databases import Database

ENTRIES = """
create table users (id int primary key);
create table entries (user_id int, at timestamptz not null, bytes int) partition by range (at);
create index on entries (user_id);
do $$ declare month timestamptz; begin
    for month in select generate_series(date_trunc('month', now(), 'UTC') - interval '5 months', date_trunc('month', now(), 'UTC'), '1 month') loop
        execute format('create table %I partition of entries for values from (%L) to (%L)',
                       'entries_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
        insert into entries select g, month, 10 * g from generate_series(1, 3) g;
    end loop;
end $$;
insert into users select generate_series(1, 3);
"""
KEPT = DenormalizeAggregate(
    "users", source="entries", on={"id": "user_id"}, columns={"n": "count(*)", "largest": "max(bytes)"}
)
LATER = replace(KEPT, columns={"later": "count(*)"}, deferred="every 1 minute")
PARTS = "select inhrelid::regclass::text from pg_inherits where inhparent = 'entries'::regclass order by 1"
OLDEST = f"{PARTS} limit 1"


@pytest.fixture
def entries(database: Database) -> Database:
    """Users with their entries of some months."""
    database.run("set timezone = 'UTC';" + ENTRIES)
    database.perform(InstallPgopt(1), KEPT, LATER)
    return database


def right(database: Database) -> bool:
    """Whether nothing has drifted, and what is folded in counts the same."""
    database.run("call pgopt.fold()")
    with database.connect() as connection:
        found = drift(connection, views(database))
    return found == [] and database.value("select bool_and(n = later) from users")


def test_a_partition_that_pgopt_makes_is_seen(entries: Database) -> None:
    entries.perform(ManagePartitions("entries", premake=2))
    there = entries.rows(PARTS)
    entries.run("select * from pgopt.maintain_partitions()")
    [*_, (made,)] = (each for each in entries.rows(PARTS) if each not in there)
    entries.perform(VerifyDenormalized("users"))
    entries.run(
        f"insert into {made} select 1, lower::timestamptz, 99 from pgopt.partitions_of('entries') where partition = '{made}'::regclass"
    )
    assert entries.value("select largest from users where id = 1") == 99
    assert right(entries)


def test_rows_of_a_partition_that_is_taken_out_count_no_more_where_that_is_folded_in(entries: Database) -> None:
    part = entries.value(OLDEST)
    rows = entries.value(f"select count(*) from {part}")
    assert rows > 0
    entries.perform(ManagePartitions("entries", keep="3 months"))
    with entries.connect() as connection:
        connection.execute("select * from pgopt.maintain_partitions()")
        connection.execute("call pgopt.fold()")
    assert entries.value("select sum(later) = (select count(*) from entries) and sum(n) > sum(later) from users")
    # what is written to it is nobody's any more
    entries.run(f"insert into {part} select * from {part}; truncate {part}")
    with pytest.raises(StatementFailed, match=r"of public.users differ in n, largest from what public.entries says"):
        entries.perform(VerifyDenormalized("users"))
    entries.perform(VerifyDenormalized("users", repair=True))
    assert right(entries)


def test_a_partition_that_others_have_detached_is_not_counted(entries: Database) -> None:
    part = entries.value(OLDEST)
    entries.run(f"delete from {part}; alter table entries detach partition {part}")
    entries.run(
        f"insert into {part} values (1, now() - interval '1 year', 1000); update {part} set user_id = 2; truncate {part}"
    )
    assert right(entries)
    entries.perform(LATER.reverse(), KEPT.reverse())
    assert entries.rows(f"select tgname from pg_trigger where tgrelid = '{part}'::regclass") == []


def test_a_partition_that_others_have_made_is_told_and_repaired(entries: Database) -> None:
    entries.run("create table entries_new partition of entries default")
    entries.run("insert into entries values (1, '2001-01-01', 5)")
    assert right(entries)
    with pytest.raises(
        StatementFailed,
        match=r"miss what is written directly to public.entries_new: there are none of pgopt's triggers: say repair=True",
    ):
        entries.perform(VerifyDenormalized("users"))
    entries.run("insert into entries_new values (1, '2001-01-02', 555)")
    entries.perform(VerifyDenormalized("users", repair=True), VerifyDenormalized("users"))
    entries.run("insert into entries_new values (1, '2001-01-03', 777)")
    assert entries.value("select largest from users where id = 1") == 777
    assert right(entries)


def test_rows_that_merge_updates_after_one_that_it_inserts_are_those_that_it_has_updated(entries: Database) -> None:
    entries.run("update entries set user_id = null where bytes = 20")
    entries.run(
        "merge into entries e using (values (10, 2), (20, 3), (100, 1)) v (bytes, user_id) on e.bytes = v.bytes"
        " when matched then update set user_id = v.user_id"
        " when not matched then insert values (v.user_id, now(), v.bytes)"
    )
    assert right(entries)


@pytest.mark.parametrize(
    "operation",
    [
        DetachPartition("entries", "part"),
        AttachPartition("entries", "alone", lower="1999-01-01 00:00+00", upper="1999-02-01 00:00+00"),
    ],
    ids=["detach", "attach"],
)
def test_what_would_bring_or_take_rows_unseen_is_refused(
    entries: Database, operation: DetachPartition | AttachPartition
) -> None:
    entries.run(f"alter table {entries.value(OLDEST)} rename to part; create table alone (like entries including all)")
    with pytest.raises(InvalidOperation, match=r"triggers keep columns from public.entries"):
        entries.perform(operation)
