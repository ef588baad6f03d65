"""Materialized views over a table that becomes partitioned and plain again: no gap for readers, nothing older than before."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation, ListOf, Monthly
from pgopt.errors import PgoptError
from pgopt.operations import (
    CreateMaterializedView,
    FinalizePartitioning,
    InstallPgopt,
    PartitionTable,
    SplitPartition,
    UnpartitionTable,
)
from pgopt.plan.events import Note
from tests.integration.test_partitions import interrupting, perform, refused

if TYPE_CHECKING:
    from tests.databases import Database

SALES = """
create table sales (id int primary key, at date not null, shop text not null);
insert into sales select g, date '2026-05-01' + g % 120, 'shop ' || g % 5 from generate_series(1, 300) g;
create materialized view per_shop as select shop, count(*) as n from sales group by shop;
create unique index on per_shop (shop);
"""
COPY = PartitionTable("sales", Monthly("at"), premake=1, widen_keys=True)
ATTACH = replace(COPY, method="attach")
LISTED = replace(ATTACH, by=ListOf("shop", {"old": [f"shop {number}" for number in range(5)], "new": ["new", "newer"]}))
TOTAL = "select sum(n) from per_shop"


@pytest.fixture
def sales(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    database.run(SALES)
    return database


def oid(database: Database, name: str = "per_shop") -> int:
    return int(database.value(f"select '{name}'::regclass::oid::int8"))


def refreshed(database: Database) -> int:
    database.run("refresh materialized view concurrently per_shop")
    return int(database.value(TOTAL))


@pytest.mark.parametrize("operation", [COPY, ATTACH, LISTED], ids=["copy", "attach", "list"])
def test_views_read_the_table_that_has_the_place_both_ways(sales: Database, operation: PartitionTable) -> None:
    before = sales.dump()
    sales.perform(operation)
    sales.run(
        "insert into sales values (1000, '2027-12-01', 'new') on conflict do nothing"
        if operation is LISTED
        else "select 1"
    )
    sales.run("insert into sales values (1001, '2026-07-01', 'shop 1')")
    assert refreshed(sales) == 301 + (operation is LISTED)
    sales.perform(operation.reverse())
    assert sales.dump() == before
    sales.run("insert into sales values (1002, '2026-07-01', 'shop 1')")
    assert refreshed(sales) == 302 + (operation is LISTED)


@pytest.mark.parametrize("operation", [COPY, ATTACH], ids=["copy", "attach"])
def test_readers_see_a_view_with_rows_and_its_index_at_every_moment(sales: Database, operation: PartitionTable) -> None:
    stop, seen = threading.Event(), set()

    def read() -> None:
        with sales.connect() as connection:
            while not stop.is_set():
                seen.add(
                    connection.execute(
                        "select sum(n), (select count(*) from pg_index where indrelid = 'per_shop'::regclass and indisvalid) from per_shop"
                    ).fetchone()
                )

    reader = threading.Thread(target=read)
    reader.start()
    try:
        sales.perform(operation, operation.reverse(), settings={"lock_attempts": 30})
    finally:
        stop.set()
        reader.join()
    assert seen == {(300, 1)}


def test_what_is_built_is_not_left_where_a_run_is_given_up_and_taken_back(sales: Database) -> None:
    before = sales.dump()

    def fail() -> None:
        raise RuntimeError("killed")

    for at, operation in (
        ("fill public.per_shop", COPY),
        ("swap public.per_shop", ATTACH),
        ("swap public.sales", COPY),
    ):
        with pytest.raises(RuntimeError):
            perform(sales, operation, interrupting(at, fail))
        assert oid(sales, "per_shop_pgopt_new")
        sales.perform(operation.reverse())
        assert sales.dump() == before


def test_an_interrupted_way_back_is_taken_back(sales: Database) -> None:
    def fail() -> None:
        raise RuntimeError("killed")

    for operation in (COPY, ATTACH):
        sales.perform(operation)
        there = sales.dump()
        with pytest.raises(RuntimeError):
            perform(sales, operation.reverse(), interrupting("swap" if operation is COPY else "take public", fail))
        sales.perform(operation)
        assert sales.dump() == there
        sales.perform(operation.reverse())


def test_rows_in_other_partitions_are_there_although_the_run_was_interrupted_after_the_attachment(
    sales: Database,
) -> None:
    before = sales.dump()

    def fail() -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        perform(sales, LISTED, interrupting("fill public.per_shop", fail))
    sales.run("insert into sales values (1000, '2026-07-01', 'new')")
    # copied now, from under a view that reads the first partition still
    sales.perform(LISTED.reverse())
    assert sales.dump() == before
    assert refreshed(sales) == 301


def test_a_view_is_filled_again_when_an_interrupted_run_goes_on(sales: Database) -> None:
    def fail() -> None:
        raise RuntimeError("killed")

    for operation, at in ((COPY, "swap public.sales"), (ATTACH, "swap public.per_shop")):
        with pytest.raises(RuntimeError):
            perform(sales, operation, interrupting(at, fail))
        sales.run("insert into sales select max(id) + 1, '2026-07-01', 'shop 1' from sales")
        sales.perform(operation)
        assert sales.value(TOTAL) == sales.value("select count(*) from sales")
        sales.perform(operation.reverse())


def test_a_view_that_comes_meanwhile_is_not_left_behind(sales: Database) -> None:
    made = "create materialized view late as select count(*) from sales"
    with pytest.raises(PgoptError, match=r"public\.late came meanwhile, and must be built .*: run again"):
        perform(sales, COPY, interrupting("swap public.sales", lambda: sales.run(made)))
    sales.perform(COPY)
    sales.run("insert into sales values (1000, '2026-07-01', 'new'); refresh materialized view late")
    assert sales.value("select count from late") == 301


def test_a_view_that_is_filled_or_dropped_meanwhile(sales: Database) -> None:
    sales.run("create materialized view late as select count(*) from sales with no data")
    with pytest.raises(PgoptError, match=r"public\.late was filled meanwhile"):
        perform(sales, COPY, interrupting("swap public.sales", lambda: sales.run("refresh materialized view late")))
    with pytest.raises(PgoptError, match=r"public\.late. does not exist|public\.late"):
        perform(sales, COPY, interrupting("swap public.sales", lambda: sales.run("drop materialized view late")))
    sales.perform(COPY)
    assert sales.value("select to_regclass('late_pgopt_new')") is None


def test_what_is_remembered_of_a_view_goes_along(database: Database) -> None:
    database.perform(
        InstallPgopt(1),
    )
    database.run(
        "create table sales (id int primary key, at date not null, shop text not null); insert into sales values (1, '2026-07-01', 'a')"
    )
    view = CreateMaterializedView(
        "per_day", "select at, count(*) as n from sales group by at", unique=["at"], depends_on=["sales"]
    )
    through = "select count(*) as n from seen"
    database.run("create view seen as select at from sales")
    database.perform(view, CreateMaterializedView("through", through, unique=["n"], depends_on=["sales"]))
    both = ("per_day", "through")
    for operation in (COPY, COPY.reverse(), ATTACH, ATTACH.reverse()):
        database.perform(operation)
        for name in both:
            ask = f"select outcome from pgopt.refresh('{name}')"
            assert [database.value(ask), database.value(ask)] == ["refreshed", "skipped"]
        database.run("update sales set shop = shop")
        assert [database.value(f"select outcome from pgopt.refresh('{name}')") for name in both] == ["refreshed"] * 2
    assert database.rows("select distinct source::text from pgopt.source") == [("sales",)]
    assert database.value("select count(*) from pg_trigger where tgname = 'pgopt_dirty'") == 1


def test_the_preview_says_what_is_built_anew(sales: Database) -> None:
    events = sales.perform(COPY)
    assert "these materialized views are built anew, and so refreshed: public.per_shop" in [
        each.text for each in events if isinstance(each, Note)
    ]


@pytest.mark.parametrize(
    ("setup", "told"),
    [
        ("create schema pgopt_shadow", "there is a schema pgopt_shadow: rename it"),
        (
            "create table per_shop_pgopt_gone ()",
            "public.per_shop_pgopt_gone has the name that public.per_shop takes for an instant",
        ),
        (
            "create schema x; create materialized view x.sales as select count(*) from sales",
            "have the same name in different schemas, and one reads the other: drop the one that reads before",
        ),
        (
            "create function f() returns bigint language sql begin atomic select count(*) from per_shop; end",
            "public.per_shop: function f() is bound to the table itself",
        ),
        (
            "alter table sales enable row level security; create role sees_some; grant all on sales, per_shop to sees_some; grant all on schema public to sees_some; alter materialized view per_shop owner to sees_some",
            "materialized view per_shop has the rows that policies of sales show its owner sees_some",
        ),
        (
            "create materialized view named as select id, shop from sales group by id",
            "view named groups by the key sales_pkey alone",
        ),
    ],
)
def test_what_cannot_follow_is_told_before(sales: Database, setup: str, told: str) -> None:
    try:
        sales.run(setup)
        assert told in refused(sales, COPY)
    finally:
        sales.run(
            "do $$ begin if to_regrole('sees_some') is not null then drop owned by sees_some cascade; drop role sees_some; end if; end $$"
        )


def test_views_on_partitions_are_told_before_the_way_back(sales: Database) -> None:
    sales.perform(COPY, FinalizePartitioning("sales"))
    sales.run(
        "create materialized view part as select * from sales_p202605; create view other as select * from sales_p202606"
    )
    told = refused(sales, UnpartitionTable("sales"))
    assert "part reads sales_p202605 itself, which will be gone: drop it first" in told
    assert "other reads sales_p202606 itself, which will be gone: drop it first" in told


def test_a_role_that_owns_the_tables_alone(sales: Database) -> None:
    sales.run(
        f"create role keeper login; grant create on database {sales.name} to keeper; grant create, usage on schema public to keeper;"
        " grant all on schema pgopt to keeper; grant all on all tables in schema pgopt to keeper;"
        " grant all on all sequences in schema pgopt to keeper; grant all on all routines in schema pgopt to keeper;"
        " alter table sales owner to keeper; alter materialized view per_shop owner to keeper"
    )
    try:
        before = sales.dump()
        engine = sales.engine(connect_args={"user": "keeper"})
        for operation in (COPY, ATTACH):
            sales.perform(operation, operation.reverse(), engine=engine)
            assert sales.dump() == before
        sales.run(f"revoke create on database {sales.name} from keeper")
        with pytest.raises(
            InvalidOperation, match=r"needs CREATE on the database: grant that, or drop public.per_shop before"
        ):
            sales.perform(COPY, engine=engine)
    finally:
        sales.run("drop owned by keeper cascade; drop role keeper")


def test_views_over_a_table_whose_partition_is_split_and_merged(sales: Database) -> None:
    watched = CreateMaterializedView(
        "per_day", "select at, count(*) as n from sales group by at", unique=["at"], depends_on=["sales"]
    )
    split = SplitPartition("sales", "sales_phistory", by=Monthly("at"), start="2026-07-01")
    sales.perform(watched, ATTACH)
    sales.run("create view seen as select s.* from sales s join per_day using (at)")
    before = sales.dump()
    for operation in (split, split.reverse()):
        sales.perform(operation)
        assert refreshed(sales) == sales.value("select count(*) from seen") == 300
        ask = "select outcome from pgopt.refresh('per_day')"
        assert [sales.value(ask), sales.value(ask)] == ["refreshed", "skipped"]
    assert sales.dump() == before
    sales.run("create materialized view part as select * from sales_phistory")
    assert "part reads public.sales_phistory itself: drop it before and create it after" in refused(sales, split)
