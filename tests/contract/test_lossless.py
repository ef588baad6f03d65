"""Promise 5: whatever writers commit while an operation is at work is there at the end, once, and no writer sees an error."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pgopt import Hash, IntRange
from pgopt.operations import (
    Backfill,
    CreateIndexConcurrently,
    DropIndexConcurrently,
    FinalizePartitioning,
    InstallPgopt,
    PartitionTable,
    ReindexConcurrently,
    RenameIndex,
    ReplaceIndexConcurrently,
)
from pgopt.plan.events import Retrying
from tests.contract.conftest import over
from tests.contract.ledger import Climber, Writer, at_work, expected, owners
from tests.databases import PATIENT, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from pgopt.operations import Operation
    from pgopt.plan.events import Event
    from tests.contract.examples import Example
    from tests.databases import Database

# not a write: it wants the materialized view for itself, and PostgreSQL finds a deadlock between it and any CREATE INDEX
# CONCURRENTLY on that view which waits for its snapshot
REFRESH = re.compile(r"refresh materialized view [^;]*;")


# -- the writers of the examples -----------------------------------------------------------------------------------------


@over(lambda example: bool(example.writes))
def test_writers_of_the_examples_see_no_error(prepared: Database, example: Example) -> None:
    writer = Writer(prepared, repeated(REFRESH.sub("", example.writes)))
    with at_work([writer]) as more:
        prepared.perform(example.operation, settings=PATIENT)
        more()
        if example.reversible:
            prepared.perform(*example.inverse, settings=PATIENT)


def repeated(writes: str) -> Callable[[Connection[Any], int], object]:
    """Make a writer's work of an example's SQL."""
    return lambda connection, turn: connection.execute(writes.replace("{n}", str(turn + 1)))


# -- a ledger ------------------------------------------------------------------------------------------------------------

INDEX = CreateIndexConcurrently("ix", "accounts", ["owner", "balance desc"])
UNIQUE = CreateIndexConcurrently("ux", "accounts", ["lower(code)", "id"], unique=True, include=["balance"])
BY_HASH = PartitionTable("accounts", Hash("code", 3), widen_keys=True)
BY_BALANCE = PartitionTable("accounts", IntRange("balance", step=20_000), widen_keys=True, default=True)
ATTACHED = PartitionTable("accounts", IntRange("id", step=10_000_000), widen_keys=True, method="attach")
FINAL = FinalizePartitioning("accounts")
REPLACE = ReplaceIndexConcurrently("ix", "accounts", ["balance"], old=["owner", "balance desc"])

CYCLES: dict[str, list[Operation]] = {
    "index": [INDEX, INDEX.reverse()],
    "unique index": [UNIQUE, UNIQUE.reverse()],
    "replaced index": [INDEX, REPLACE, REPLACE.reverse(), INDEX.reverse()],
    "renamed index": [INDEX, RenameIndex("ix", "xi"), RenameIndex("xi", "ix")],
    "dropped index": [DropIndexConcurrently("accounts_owner", "accounts", ["owner"])],
    "rebuilt indexes": [ReindexConcurrently(table="accounts"), ReindexConcurrently("accounts_pkey")],
    "the pgopt schema": [InstallPgopt(1), InstallPgopt(1).reverse()],
    "partitions by hash": [InstallPgopt(1), BY_HASH, BY_HASH.reverse(), BY_HASH, FINAL, BY_HASH.reverse()],
    "partitions by what changes": [InstallPgopt(1), BY_BALANCE, BY_BALANCE.reverse()],
    "partitions by attachment": [InstallPgopt(1), ATTACHED, ATTACHED.reverse()],
}
# a key that contains the balance, or the id, is no target for them
WITHOUT_UPSERTS = {"partitions by what changes", "partitions by attachment"}


# each row of the table must be found through each index
CHECK_INDEXES = """
    select bt_index_check(i.indexrelid, heapallindexed => true)
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid in (select relid from pg_partition_tree('accounts') union select 'accounts'::regclass)
        and i.indisvalid and c.relkind = 'i'
"""


@pytest.mark.parametrize("cycle", CYCLES)
def test_the_table_is_what_the_ledger_says(database: Database, cycle: str) -> None:
    owned = owners(database, 4 if cycle.startswith("partitions") else 3, upserts=cycle not in WITHOUT_UPSERTS)
    database.run("create extension amcheck; create index accounts_owner on accounts (owner)")
    with at_work([Writer(database, owner) for owner in owned]) as more:
        for operation in CYCLES[cycle]:
            database.perform(operation, settings=PATIENT)
            more()
            database.run(CHECK_INDEXES)
        wait_until("all kinds of writes", lambda: all(owner.complete for owner in owned))
    assert in_table(database) == expected(owned)


def in_table(database: Database) -> list[tuple[Any, ...]]:
    """All rows, read without any index."""
    with database.connect() as connection:
        connection.execute("set enable_indexscan = off; set enable_bitmapscan = off; set enable_indexonlyscan = off")
        return connection.execute("select id, owner, code, balance from accounts order by 1").fetchall()


# -- batches -------------------------------------------------------------------------------------------------------------

ITEMS = """
create table items (id int primary key, n int not null default 0, tag text);
insert into items select g, 0 from generate_series(1, 1200) g;
"""


def test_a_backfill_beside_the_ledger(database: Database) -> None:
    owned = owners(database, 3)
    database.perform(InstallPgopt(1))
    first = in_table(database)
    with at_work([Writer(database, owner) for owner in owned]):
        database.perform(Backfill("accounts", set={"backfilled": "code"}, where="backfilled is null"), settings=PATIENT)
        wait_until("all kinds of writes", lambda: all(owner.complete for owner in owned))
    assert in_table(database) == expected(owned)
    assert database.value("select count(*) from accounts where backfilled <> code") == 0
    done = {id_ for (id_,) in database.rows("select id from accounts where backfilled is not null")}
    still_there = {row[0] for row in first} & {row[0] for row in expected(owned)}
    assert still_there
    assert still_there <= done


def test_a_backfill_gives_way_to_writers_that_go_the_other_way(database: Database) -> None:
    database.run(ITEMS)
    database.perform(InstallPgopt(1))
    climbers = [Climber(number, count=3, rows=1200, step=step) for number, step in enumerate((-1, 1, -1))]
    told: list[Event] = []
    times = 0
    with at_work([Writer(database, climber) for climber in climbers]):
        # on a busy machine they may miss each other
        while times < 30 and not any(isinstance(event, Retrying) for event in told):
            told = database.perform(Backfill("items", set={"n": "n + 1"}), settings=PATIENT)
            times += 1
    assert times < 30, "nobody was in the way of anybody"
    written = sum((climber.added for climber in climbers), Counter())
    assert dict(database.rows("select id, n from items")) == {
        key: times + written[key] * 1000 for key in range(1, 1201)
    }


def test_what_writers_set_wins_over_a_backfill_that_excludes_it(database: Database) -> None:
    database.run(ITEMS)
    database.perform(InstallPgopt(1))
    climbers = [Climber(number, count=3, rows=1200, step=step) for number, step in enumerate((-1, 1, -1))]
    operation = Backfill("items", set={"tag": "'backfill'"}, where="tag is null")
    with at_work([Writer(database, climber) for climber in climbers]):
        database.perform(operation, settings=PATIENT)
    claimed = {key for climber in climbers for key in climber.added}
    found = dict(database.rows("select id, tag from items"))
    assert claimed
    assert found == {key: "writer" if key in claimed else "backfill" for key in range(1, 1201)}
