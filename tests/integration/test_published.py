"""Tables that are published while they become partitioned and plain again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation, Monthly
from pgopt.operations import InstallPgopt, PartitionTable
from pgopt.plan.events import Note
from tests.databases import Database, wait_until
from tests.integration.test_partitions import refused
from tests.servers import Server, binaries
from tools.server import clients, server

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "create table sales (id int primary key, at date not null, shop text);"
ROWS = "insert into sales select g, date '2026-05-01' + g % 120, 'shop ' || g % 5 from generate_series(1, 300) g;"
COPY = PartitionTable("sales", Monthly("at"), premake=1, default=True, widen_keys=True, publish="root")
ATTACH = replace(COPY, method="attach")
FAR_GONE = "delete from sales where shop = 'far'"
ALL_ROWS = "select * from sales order by id, at, shop"


@pytest.fixture
def logical() -> Iterator[Server]:
    with server(binaries(), "wal_level=logical") as folder:
        yield Server(str(folder), 5432, bindir=str(clients(binaries())))


def test_a_subscriber_sees_every_row_once(logical: Server) -> None:
    publisher, subscriber = Database(logical, "postgres"), Database(logical, "subscriber")
    publisher.run("create database subscriber")
    publisher.perform(InstallPgopt(1))
    publisher.run(f"{TABLE} create publication p for table sales with (publish_via_partition_root = true)")
    # a subscription waits for itself where it is to make the slot on its own server
    publisher.run("select pg_create_logical_replication_slot('s', 'pgoutput')")
    publisher.run(ROWS)
    subscriber.run(TABLE)
    subscriber.run(
        f"create subscription s connection '{logical.dsn('postgres')}' publication p"
        " with (create_slot = false, slot_name = 's', copy_data = false)"
    )
    for number, operation in enumerate((COPY, COPY.reverse(), ATTACH, ATTACH.reverse()), 1):
        publisher.perform(operation)
        publisher.run(f"insert into sales values ({number} * 1000, '2026-07-01', 'new')")
        # a partition of its own, which is copied on the way back, and is in the way of an attachment
        publisher.run("insert into sales values (0, '2060-01-01', 'far')" if number % 2 else FAR_GONE)
        publisher.run(
            f"update sales set at = at + 31, shop = 'u' where id % 7 = {number} and id > 0; delete from sales where id % 11 = {number} and id > 0"
        )
        wanted = publisher.rows(ALL_ROWS)
        wait_until("the rows of the publisher", lambda wanted=wanted: subscriber.rows(ALL_ROWS) == wanted)


@pytest.fixture
def sales(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    database.run(TABLE + ROWS)
    return database


ROOT = "with (publish_via_partition_root = true)"


@pytest.mark.parametrize(
    ("publication", "operation", "told"),
    [
        (f"for table sales {ROOT}", replace(COPY, publish=None), "it is published by p: publish='root' lets the"),
        ("for table sales", COPY, "ALTER PUBLICATION p SET (publish_via_partition_root = true) first"),
        ("for table sales", ATTACH, "ALTER PUBLICATION p SET (publish_via_partition_root = true) first"),
        (
            f"for all tables {ROOT}",
            COPY,
            "publication p is FOR ALL TABLES, and would publish the copy while it is filled",
        ),
        (
            f"for tables in schema public {ROOT}",
            COPY,
            "publication p is FOR TABLES IN SCHEMA, and would publish the copy",
        ),
        (f"for all tables {ROOT}", replace(ATTACH, publish=None), "it is published by p: publish='root' lets"),
        (
            f"for table sales (id, shop) {ROOT}",
            COPY,
            "publication p has not column at, by which rows will be told apart",
        ),
    ],
)
def test_what_stands_against_it_is_told_before(
    sales: Database, publication: str, operation: PartitionTable, told: str
) -> None:
    sales.run(f"set client_min_messages = error; create publication p {publication}")
    assert told in refused(sales, operation)


def test_the_way_back_looks_at_publications_of_today(sales: Database) -> None:
    before = sales.dump()
    sales.perform(replace(COPY, publish=None))
    sales.run(
        f"set client_min_messages = error; create publication p for table sales; create publication o for all tables {ROOT}"
    )
    told = refused(sales, COPY.reverse())
    assert "ALTER PUBLICATION p SET (publish_via_partition_root = true) first" in told
    assert "publication o is FOR ALL TABLES, and would publish the copy while it is filled" in told
    sales.run("drop publication o; alter publication p set (publish_via_partition_root = true)")
    sales.perform(COPY.reverse())
    assert sales.rows("select tablename from pg_publication_tables where pubname = 'p'") == [("sales",)]
    sales.run("drop publication p")
    assert sales.dump() == before


def test_a_publication_of_all_tables_goes_with_what_copies_nothing(sales: Database) -> None:
    sales.run(f"set client_min_messages = error; create publication p for all tables {ROOT}")
    before = sales.dump()
    events = sales.perform(ATTACH)
    notes = [each.text for each in events if isinstance(each, Note)]
    assert any(
        note.startswith("the partitioned table takes the place of the old one in p: subscribers see the same table")
        for note in notes
    )
    sales.perform(ATTACH.reverse())
    assert sales.dump() == before


def test_who_may_not_change_a_publication_is_told_before(sales: Database) -> None:
    sales.run(
        f"set client_min_messages = error; create publication p for table sales {ROOT};"
        " create role seller login; grant create, usage on schema public to seller; grant all on schema pgopt to seller;"
        " grant all on all tables in schema pgopt to seller; grant all on all sequences in schema pgopt to seller;"
        " grant all on all routines in schema pgopt to seller; alter table sales owner to seller"
    )
    try:
        with pytest.raises(InvalidOperation, match=r"publication p belongs to postgres, .*: be a member of that role"):
            sales.perform(COPY, engine=sales.engine(connect_args={"user": "seller"}))
    finally:
        sales.run("drop owned by seller cascade; drop role seller")


def test_leaves_are_not_published_by_their_names() -> None:
    with pytest.raises(InvalidOperation, match=r"publish='leaves' of sales: say None or 'root'"):
        replace(COPY, publish="leaves")  # type: ignore[arg-type]
