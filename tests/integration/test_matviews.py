"""Materialized views: refreshed, skipped on certain knowledge, fresh or not, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, event, select

from pgopt import InvalidOperation, NotReversible, PgoptError, StatementFailed
from pgopt.jobs.runner import Runner
from pgopt.operations import (
    CreateMaterializedView,
    DropMaterializedView,
    InstallPgopt,
    ManagePartitions,
    RefreshMaterializedView,
    ReplaceMaterializedView,
    UninstallPgopt,
)
from pgopt.plan.events import StepStarted
from tests.databases import wait_until

if TYPE_CHECKING:
    from pgopt.plan.events import Event
    from tests.databases import Database

SALES = """
create table sales (id int generated always as identity primary key, shop int not null, amount int not null);
insert into sales (shop, amount) select g % 3, g from generate_series(1, 30) g;
"""
QUERY = "select shop, count(*) as number, sum(amount) as amount from sales group by shop"
VIEW = CreateMaterializedView("per_shop", QUERY, unique=["shop"])
WATCHED = CreateMaterializedView("per_shop", QUERY, unique=["shop"], depends_on=["sales"])


@pytest.fixture
def sales(database: Database) -> Database:
    """A table, and the pgopt schema."""
    database.run(SALES)
    database.perform(InstallPgopt(1))
    return database


def refresh(database: Database, view: str = "per_shop", more: str = "") -> tuple[str, str | None]:
    outcome, detail = database.rows(f"select * from pgopt.refresh('{view}'{more})")[0]
    return outcome, detail


def agrees(database: Database) -> bool:
    """Whether the view is what its query gives now."""
    return not database.rows(f"(table per_shop except ({QUERY})) union all (({QUERY}) except table per_shop)")


# -- refreshing ----------------------------------------------------------------------------------------------------------


def test_a_refresh_is_written_down(sales: Database) -> None:
    sales.perform(VIEW)
    sales.run("insert into sales (shop, amount) values (7, 1)")
    assert refresh(sales) == ("refreshed", None)
    assert agrees(sales)
    rows = sales.rows(
        "select outcome, method, rows, bytes > 0, detail, finished_at >= started_at from pgopt.refresh order by id"
    )
    assert rows == [
        ("created", "plain", 3, True, None, True),
        ("refreshed", "concurrently", 4, True, None, True),
    ]


def test_only_what_is_not_there_or_cannot_be_is_refreshed_plainly(sales: Database) -> None:
    sales.perform(CreateMaterializedView("per_shop", QUERY, unique=["shop"], with_data=False))
    assert sales.value("select not populated and fresh_at is null from pgopt.freshness")
    for more in (", concurrently => true", "", ", concurrently => false"):
        assert refresh(sales, more=more) == ("refreshed", None)
    sales.run("drop index ux_per_shop_shop")
    assert refresh(sales) == ("refreshed", None)
    assert sales.rows("select method, rows from pgopt.refresh order by id") == [
        ("plain", 3),
        ("concurrently", 3),
        ("plain", 3),
        ("plain", 3),
    ]


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("", "it has none"),
        ("create unique index ux on per_shop (shop) where shop > 0", r"(public\.)?ux is partial"),
        ("create unique index ux on per_shop (abs(shop))", r"(public\.)?ux is on expressions"),
    ],
)
def test_a_concurrent_refresh_without_a_usable_index_is_refused_with_the_reason(
    sales: Database, index: str, reason: str
) -> None:
    sales.perform(CreateMaterializedView("per_shop", QUERY))
    sales.run(index or "select 1")
    with pytest.raises(InvalidOperation, match=f"without a unique index on plain columns: {reason}: create one"):
        sales.perform(RefreshMaterializedView("per_shop", concurrently=True))
    with pytest.raises(psycopg.errors.RaiseException, match=reason):
        refresh(sales, more=", concurrently => true")
    sales.perform(RefreshMaterializedView("per_shop"))


def test_a_failed_refresh_is_written_down_and_tried_again_later(sales: Database) -> None:
    sales.perform(CreateMaterializedView("per_shop", "select shop, 100 / max(amount) as n from sales group by shop"))
    sales.run("insert into sales (shop, amount) values (7, 0)")
    before = sales.rows("select shop, n from per_shop order by 1")
    assert refresh(sales) == ("failed", "division by zero")
    assert sales.rows("select shop, n from per_shop order by 1") == before
    assert sales.rows("select outcome, detail from pgopt.refresh order by id desc limit 1") == [
        ("failed", "division by zero")
    ]
    assert sales.value("select failures = 1 and error = 'division by zero' and retry_at > now() from pgopt.freshness")
    outcome, detail = refresh(sales)
    assert outcome == "postponed"
    assert "it has failed 1 times" in str(detail)
    first = sales.value("select retry_at - now() from pgopt.freshness")
    assert refresh(sales, more=", force => true")[0] == "failed"
    assert sales.value("select retry_at - now() from pgopt.freshness") > first, "each failure waits longer"
    sales.run("delete from sales where amount = 0")
    assert refresh(sales, more=", force => true")[0] == "refreshed"
    assert sales.value("select failures = 0 and error is null and retry_at is null from pgopt.freshness")


def test_a_refresh_that_is_cancelled_is_written_down(sales: Database) -> None:
    sales.perform(CreateMaterializedView("per_shop", "select 1 as shop from pg_sleep(0)"))
    sales.run(
        "drop materialized view per_shop; create materialized view per_shop as select 1 as shop from pg_sleep(60) with no data"
    )
    with sales.connect() as connection:
        connection.execute("set statement_timeout = '300ms'")
        found = connection.execute("select * from pgopt.refresh('per_shop')").fetchall()
    assert found == [("cancelled", "canceling statement due to statement timeout")]
    assert sales.value("select outcome from pgopt.refresh order by id desc limit 1") == "failed"
    sales.run("create materialized view quick as select 1")
    with sales.connect() as connection:
        connection.execute("set statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.RaiseException, match="not refreshed: per_shop: canceling"):
            connection.execute("call pgopt.refresh_all(force => true)")
    assert sales.value("select count(*) from pgopt.refresh where view = 'quick'::regclass") == 0, "and no more is begun"


def test_a_migration_whose_refresh_fails_says_so_and_has_it_written_down(sales: Database) -> None:
    sales.perform(CreateMaterializedView("per_shop", "select shop, 100 / max(amount) as n from sales group by shop"))
    sales.run("insert into sales (shop, amount) values (7, 0)")
    with pytest.raises(PgoptError, match=r"^refresh_materialized_view per_shop: division by zero$"):
        sales.perform(RefreshMaterializedView("per_shop"))
    assert sales.value("select failures from pgopt.freshness") == 1


def test_a_refresh_under_way_is_not_started_twice(sales: Database) -> None:
    sales.perform(VIEW)
    with sales.connect() as one:
        one.execute("begin")
        one.execute("select pgopt.refresh('per_shop')")
        assert refresh(sales) == ("skipped", "a refresh is under way already")
        with pytest.raises(PgoptError, match=r"refresh per_shop: .* in 3 attempts"):
            sales.perform(RefreshMaterializedView("per_shop"))
        one.execute("rollback")
    sales.perform(RefreshMaterializedView("per_shop"))
    # the one that was rolled back has left nothing
    assert sales.value("select count(*) from pgopt.refresh where outcome = 'refreshed'") == 1


def test_a_refresh_does_not_wait_for_long(sales: Database) -> None:
    sales.perform(VIEW)
    with sales.connect() as one:
        one.execute("begin")
        one.execute("lock table sales in access exclusive mode")
        assert refresh(sales) == ("failed", "canceling statement due to lock timeout")


def test_views_are_refreshed_after_those_that_they_read(sales: Database) -> None:
    sales.run(
        "create materialized view a_top as select 1 as n; drop materialized view a_top;"
        f"create materialized view z_base as {QUERY}; create view between as select sum(number) as number from z_base;"
        "create materialized view m_middle as select number from between; create materialized view a_top as select 2 * number as n from m_middle"
    )
    assert sales.rows("select o::text from pgopt.in_order() o") == [("z_base",), ("m_middle",), ("a_top",)]
    assert sales.rows("select o::text from pgopt.in_order(array['a_top', 'z_base']::regclass[]) o") == [
        ("z_base",),
        ("a_top",),
    ]
    sales.run("insert into sales (shop, amount) values (7, 0)")
    sales.run("call pgopt.refresh_all()")
    assert sales.value("select n from a_top") == 62
    assert sales.value("select count(distinct xmin::text) from pgopt.refresh") == 3, "each in a transaction of its own"


def test_one_that_fails_does_not_keep_the_others_from_being_refreshed(sales: Database) -> None:
    sales.run(
        f"create materialized view per_shop as {QUERY}; create materialized view bad as select 1 / min(amount) as n from sales"
    )
    sales.run("insert into sales (shop, amount) values (7, 0)")
    with pytest.raises(psycopg.errors.RaiseException, match=r"^not refreshed: bad: division by zero"):
        sales.run("call pgopt.refresh_all(force => true)")
    with pytest.raises(psycopg.errors.RaiseException, match=r"^not refreshed: bad: it has failed 1 times"):
        sales.run("call pgopt.refresh_all()")
    assert agrees(sales)
    assert sales.rows("select view_name, failures from pgopt.freshness order by 1") == [("bad", 1), ("per_shop", 0)]


def test_freshness(sales: Database) -> None:
    sales.run(f"create materialized view per_shop as {QUERY}")
    assert not sales.value("select pgopt.is_fresh('per_shop', '1 hour')"), "nobody knows"
    refresh(sales)
    assert sales.value("select pgopt.is_fresh('per_shop', '1 hour')")
    assert not sales.value("select pgopt.is_fresh('per_shop', '-1 s')")
    assert sales.value("select age < '1 hour' and outcome = 'refreshed' and rows = 3 from pgopt.freshness")
    sales.run("refresh materialized view per_shop with no data")
    assert not sales.value("select pgopt.is_fresh('per_shop', '1 hour')")


def test_rows_are_as_old_as_the_snapshot_that_read_them(sales: Database) -> None:
    sales.perform(VIEW)
    with sales.connect() as one:
        one.execute("begin isolation level repeatable read")
        one.execute("select 1")
        sales.run("select pg_sleep(0.3)")
        one.execute("select pgopt.refresh('per_shop')")
        one.execute("commit")
    assert sales.value("select finished_at - fresh_at >= '0.3 s' from pgopt.freshness, pgopt.refresh order by id desc")


def test_an_application_that_is_told_so_may_ask(sales: Database) -> None:
    sales.perform(VIEW)
    sales.run("create role reader; grant usage on schema pgopt to reader; grant select on pgopt.freshness to reader")
    sales.run(
        "grant execute on function pgopt.is_fresh(regclass, interval) to reader; grant select on per_shop to reader"
    )
    try:
        with sales.connect() as one:
            one.execute("set role reader")
            assert one.execute("select pgopt.is_fresh('per_shop', '1 hour')").fetchall() == [(True,)]
            assert one.execute("select view_name from pgopt.freshness").fetchall() == [("per_shop",)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                one.execute("select pgopt.refresh('per_shop')")
    finally:
        sales.run("drop owned by reader; drop role reader")


# -- skipping ------------------------------------------------------------------------------------------------------------

CHANGES = {
    "insert": "insert into sales (shop, amount) values (9, 9)",
    "update": "update sales set amount = amount + 1 where id = 1",
    "delete": "delete from sales where id = 2",
    "truncate": "truncate sales",
    "copy": "do $$ begin insert into sales (shop, amount) select 5, 5 from generate_series(1, 3); end $$",
    "merge": "merge into sales s using (values (1)) v (id) on s.id = v.id when matched then update set amount = 0",
    "in replica mode": "set session_replication_role = replica; insert into sales (shop, amount) values (9, 9)",
    "after a savepoint that was rolled back": "begin; savepoint a; insert into sales (shop, amount) values (8, 8); rollback to a;"
    " insert into sales (shop, amount) values (9, 9); commit",
    "behind the triggers' back": "alter table sales disable trigger pgopt_dirty; insert into sales (shop, amount) values (9, 9);"
    " alter table sales enable always trigger pgopt_dirty",
}


def skipped(database: Database) -> bool:
    outcome, detail = refresh(database)
    assert (outcome, detail) in (("skipped", "nothing has changed"), ("refreshed", None))
    return outcome == "skipped"


@pytest.mark.parametrize("change", CHANGES)
def test_a_refresh_is_skipped_until_something_changes(sales: Database, change: str) -> None:
    sales.perform(WATCHED)
    assert not skipped(sales), "between creating and watching it anything can have happened"
    assert skipped(sales)
    assert (
        sales.value("select fresh_at = (select max(started_at) from pgopt.refresh) from pgopt.materialized") is not None
    )
    sales.run(CHANGES[change])
    assert not skipped(sales)
    assert agrees(sales)
    assert skipped(sales)
    assert sales.value("select count(*) from pgopt.dirty") == 0


def test_what_is_skipped_is_fresh(sales: Database) -> None:
    sales.perform(WATCHED)
    refresh(sales)
    before = sales.value("select fresh_at from pgopt.freshness")
    assert skipped(sales)
    assert sales.value("select fresh_at from pgopt.freshness") > before


def test_what_is_rolled_back_is_no_change(sales: Database) -> None:
    sales.perform(WATCHED)
    refresh(sales)
    sales.run("begin; insert into sales (shop, amount) values (8, 8); rollback")
    assert skipped(sales)


def test_a_transaction_notes_one_row(sales: Database) -> None:
    sales.perform(WATCHED)
    refresh(sales)
    sales.run("begin; " + "insert into sales (shop, amount) values (8, 8);" * 5 + "commit")
    assert sales.value("select count(*) from pgopt.dirty") == 1


def test_what_commits_during_a_refresh_is_for_the_next(sales: Database) -> None:
    sales.perform(WATCHED)
    refresh(sales)
    with sales.connect() as slow:
        slow.execute("begin")
        slow.execute("insert into sales (shop, amount) values (8, 8)")
        sales.run("insert into sales (shop, amount) values (9, 9)")
        assert not skipped(sales)
        # nothing that anybody can see has changed since
        assert skipped(sales)
        slow.execute("commit")
    assert not skipped(sales)
    assert agrees(sales)
    # and a refresh that was rolled back has not used up what was noted
    sales.run("insert into sales (shop, amount) values (10, 10)")
    sales.run("begin; select pgopt.refresh('per_shop'); rollback")
    assert not skipped(sales)
    assert agrees(sales)


def test_a_failed_refresh_does_not_use_up_what_was_noted(sales: Database) -> None:
    sales.perform(CreateMaterializedView("per_shop", "select shop, 100 / amount as n from sales", depends_on=["sales"]))
    refresh(sales)
    sales.run("insert into sales (shop, amount) values (9, 0)")
    assert refresh(sales)[0] == "failed"
    assert sales.value("select has_changes from pgopt.freshness")


def test_partitions_are_watched_wherever_rows_are_written(sales: Database) -> None:
    sales.run(
        "create table log (id int, day date) partition by range (day); create table log_1 partition of log for values from ('2024-01-01') to ('2025-01-01')"
    )
    sales.perform(CreateMaterializedView("days", "select day, count(*) as n from log group by day", depends_on=["log"]))
    refresh(sales, "days")
    sales.run("insert into log_1 values (1, '2024-01-01')")
    assert refresh(sales, "days") == ("refreshed", None)
    assert refresh(sales, "days") == ("skipped", "nothing has changed")
    sales.run("create table log_2 (id int, day date); insert into log_2 values (2, '2025-03-03')")
    sales.run("alter table log attach partition log_2 for values from ('2025-01-01') to ('2026-01-01')")
    # a partition without the trigger: never skipped again, until somebody watches it
    for _ in range(2):
        assert refresh(sales, "days") == ("refreshed", None)
    assert sales.value("select count(*) from days") == 2
    sales.run("select pgopt.watch('days', array['log']::regclass[])")
    refresh(sales, "days")
    assert refresh(sales, "days") == ("skipped", "nothing has changed")
    sales.run("alter table log detach partition log_1")
    assert refresh(sales, "days") == ("refreshed", None)
    assert sales.value("select count(*) from days") == 1


LOG = """
create schema "S %x";
create table "S %x"."lo:g" (n int not null, shop int) partition by range (n);
create table "S %x"."lo:g_p0" partition of "S %x"."lo:g" for values from (0) to (100);
create table "S %x"."lo:g_p100" partition of "S %x"."lo:g" for values from (100) to (200);
insert into "S %x"."lo:g" values (1, 1), (150, 2);
"""
SHOPS = CreateMaterializedView(
    "shops", 'select shop, count(*) as n from "S %x"."lo:g" group by shop', depends_on=[("S %x", "lo:g")]
)


def test_partitions_that_pgopt_makes_are_watched(sales: Database) -> None:
    sales.run(LOG)
    sales.perform(SHOPS, ManagePartitions("lo:g", premake=2, schema="S %x"))
    made = sales.rows("select partition from pgopt.maintain_partitions() where action = 'created'")
    assert made
    assert refresh(sales, "shops") == ("refreshed", None)
    assert refresh(sales, "shops") == ("skipped", "nothing has changed")
    for (part,) in made:
        sales.run(
            f"insert into {part} select lower::int, 3 from pgopt.partitions_of('\"S %x\".\"lo:g\"') where partition = '{part}'::regclass"
        )
        assert refresh(sales, "shops") == ("refreshed", None)
        assert refresh(sales, "shops") == ("skipped", "nothing has changed")
    assert sales.value("select n from shops where shop = 3") == len(made)
    sales.perform(SHOPS.reverse())
    assert sales.value("select count(*) from pg_trigger where tgname = 'pgopt_dirty'") == 0
    assert sales.value("select count(*) from pgopt.source") == 0


def test_who_may_not_note_changes_makes_partitions_all_the_same(sales: Database) -> None:
    sales.run(LOG)
    sales.perform(SHOPS, ManagePartitions("lo:g", premake=2, schema="S %x"))
    sales.run(
        'create role keeper; grant usage on schema pgopt to keeper; grant usage, create on schema "S %x" to keeper'
    )
    try:
        sales.run(
            'alter table "S %x"."lo:g" owner to keeper; alter table "S %x"."lo:g_p0" owner to keeper;'
            ' alter table "S %x"."lo:g_p100" owner to keeper; grant execute on all functions in schema pgopt to keeper;'
            " grant select on all tables in schema pgopt to keeper"
        )
        with sales.connect() as one:
            one.execute("set role keeper")
            actions = one.execute("select action from pgopt.maintain_partitions()").fetchall()
        assert set(actions) == {("created",)}
        for _ in range(2):
            assert refresh(sales, "shops") == ("refreshed", None)
    finally:
        sales.run("drop owned by keeper cascade; drop role keeper")


def test_a_view_between_that_changes_is_a_change(sales: Database) -> None:
    sales.run("create view big as select * from sales where amount > 10")
    sales.perform(
        CreateMaterializedView("per_shop", "select shop, count(*) as n from big group by shop", depends_on=["sales"])
    )
    refresh(sales)
    assert skipped(sales)
    sales.run("create or replace view big as select * from sales where amount > 20")
    assert refresh(sales) == ("refreshed", None)


def test_a_function_that_changes_is_a_change(sales: Database) -> None:
    sales.run("create function twice(n int) returns int language sql immutable as 'select 2 * n'")
    sales.perform(
        CreateMaterializedView("per_shop", "select shop, public.twice(amount) as n from sales", depends_on=["sales"])
    )
    refresh(sales)
    assert skipped(sales)
    sales.run("create or replace function twice(n int) returns int language sql immutable as 'select 3 * n'")
    assert refresh(sales) == ("refreshed", None)
    sales.run("alter function twice(int) volatile")
    for _ in range(2):
        assert refresh(sales) == ("refreshed", None)


REFUSED = {
    "select shop, now() as at from sales": r"it calls now\(\), which is stable",
    "select shop, current_date as today from sales": "it asks for the time or the user",
    "select shop, 'x' || current_user as me from sales": "it asks for the time or the user",
    "select shop, random() as r from sales": r"it calls random\(\), which is volatile",
    "select shop, to_char(timestamp '2024-01-01', 'Day') as d from sales": r"it calls to_char\(",
    "select shop, ctid from sales": "it reads a system column",
    "select shop, relname from sales, pg_class": "it reads pg_class, whose changes nobody notes: it is the server's own",
    "select shop, m.n from sales, m": r"it reads public\.m, whose changes nobody notes: it is a materialized view",
    "select shop, v.n from sales, v": "it asks for the time",
    "select shop, (date '2024-01-01' + shop)::text from sales": "which is stable",
    "select shop from sales tablesample system (10)": "it has TABLESAMPLE",
    "select shop, id from secret": r"it reads public\.secret, whose changes nobody notes: it is under row level security",
    "select shop, o.id from sales, other o": r"it reads public\.other, which depends_on does not name",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_nobody_can_know_for_certain_is_refused(sales: Database, query: str) -> None:
    sales.run(
        "create materialized view m as select 1 as n; create view v as select current_timestamp as n; create table other (id int);"
        "create table secret (id int, shop int); alter table secret enable row level security"
    )
    with pytest.raises(PgoptError, match=REFUSED[query]):
        sales.perform(CreateMaterializedView("per_shop", query, depends_on=["sales", "secret"]))
    assert sales.value("select count(*) from pg_trigger where tgname = 'pgopt_dirty'") == 0
    assert sales.value("select to_regclass('per_shop')") is None


@pytest.mark.parametrize(
    "query",
    [
        QUERY,
        "select id::text as id, lower('Cur' || shop::text) as \":funcid 1299\", '{SQLVALUEFUNCTION ' as c from sales",
        "select shop, amount = any(array[1, 2]) as some, row_number() over (order by id) as n from sales",
        "with recursive t (n) as (select 1 union all select n + 1 from t where n < 3) select n, count(s.*) from t, sales s group by n",
    ],
)
def test_what_is_certain_is_not_refused(sales: Database, query: str) -> None:
    sales.perform(CreateMaterializedView("per_shop", query, depends_on=["sales"]))
    refresh(sales)
    assert skipped(sales)


def test_writers_without_rights_on_pgopt_go_on(sales: Database) -> None:
    sales.run("create role writer; grant all on sales to writer; grant all on sequence sales_id_seq to writer")
    try:
        sales.perform(WATCHED)
        refresh(sales)
        with sales.connect() as one:
            one.execute("set role writer")
            one.execute("insert into sales (shop, amount) values (1, 1)")
        assert not skipped(sales)
    finally:
        sales.run("drop owned by writer; drop role writer")


def test_serializable_writers_are_not_set_against_each_other(sales: Database) -> None:
    sales.perform(WATCHED)
    sales.run("create table other (id int primary key, n int); insert into other values (1, 1), (2, 2)")
    with sales.connect() as one, sales.connect() as two:
        for each, key in ((one, 1), (two, 2)):
            each.execute("begin isolation level serializable")
            each.execute("select count(*) from other where id = %s", [key])
            each.execute("insert into sales (shop, amount) values (1, 1)")
        for each, key in ((one, 1), (two, 2)):
            each.execute("update other set n = 0 where id = %s", [key])
            each.execute("commit")


def test_pgopt_is_not_uninstalled_while_triggers_need_it(sales: Database) -> None:
    sales.perform(WATCHED)
    with pytest.raises(InvalidOperation, match="changes are noted for per_shop"):
        sales.perform(UninstallPgopt(1))
    sales.perform(DropMaterializedView("per_shop"), UninstallPgopt(1))


# -- creating, dropping, replacing ---------------------------------------------------------------------------------------


def test_another_view_of_that_name_is_refused(sales: Database) -> None:
    sales.run("create materialized view per_shop as select 1 as shop")
    with pytest.raises(
        InvalidOperation, match=r"its query is another .*:\n  there is  SELECT 1 AS shop;\n  wanted is SELECT"
    ):
        sales.perform(VIEW)
    with pytest.raises(InvalidOperation, match="its query is another"):
        sales.perform(VIEW.reverse())
    sales.run("drop materialized view per_shop; create table per_shop (a int)")
    for operation in (VIEW, VIEW.reverse(), RefreshMaterializedView("per_shop")):
        with pytest.raises(InvalidOperation, match=r"public.per_shop is a table, not a materialized view"):
            sales.perform(operation)


def test_an_equal_view_is_taken_and_gets_the_indexes_that_it_lacks(sales: Database) -> None:
    sales.run(
        'create materialized view per_shop as SELECT s.shop, COUNT(*) AS "number", sum(s.amount) amount FROM sales s GROUP BY 1'
    )
    with pytest.raises(InvalidOperation, match="its query is another"):
        sales.perform(VIEW)  # the alias is a part of the query
    sales.run(f"drop materialized view per_shop; create materialized view per_shop as {QUERY.upper()}")
    sales.perform(VIEW)
    assert (
        sales.value("select indexrelid::regclass::text from pg_index where indrelid = 'per_shop'::regclass")
        == "ux_per_shop_shop"
    )


@pytest.mark.parametrize(
    ("also", "what"),
    [
        ("comment on materialized view per_shop is 'c'", "the comment 'c'"),
        ("create index ix on per_shop (amount)", "the index 'ix'"),
        ("alter materialized view per_shop set (fillfactor = 70)", "the parameters '{fillfactor=70}'"),
        ("create view v as select * from per_shop", "is read by v: drop"),
        (
            "create function f() returns bigint begin atomic select count(*) from per_shop; end",
            r"is read by function f\(\)",
        ),
    ],
)
def test_a_drop_refuses_to_lose_what_would_not_come_back(sales: Database, also: str, what: str) -> None:
    sales.perform(VIEW)
    sales.run(also)
    with pytest.raises(InvalidOperation, match=what):
        sales.perform(VIEW.reverse())
    if "is read" not in what:
        sales.perform(DropMaterializedView("per_shop"))


def test_a_drop_without_a_query_has_no_way_back() -> None:
    with pytest.raises(NotReversible, match="say its query"):
        DropMaterializedView("v").reverse()
    with pytest.raises(NotReversible, match="say old="):
        ReplaceMaterializedView("v", "select 1").reverse()


def test_expressions_are_no_unique_columns() -> None:
    with pytest.raises(InvalidOperation, match="is an expression, and a concurrent refresh needs plain columns"):
        CreateMaterializedView("v", "select 1 as a", unique=["abs(a)"])


def test_a_select_keeps_its_table_names() -> None:
    metadata = MetaData()
    one, two = (Table(name, metadata, Column("id", Integer)) for name in ("one", "two"))
    operation = CreateMaterializedView("v", select(one.c.id, two.c.id.label("x")).join(two, one.c.id == two.c.id))
    assert " ".join(operation.query.split()) == "SELECT one.id, two.id AS x FROM one JOIN two ON one.id = two.id"


def test_what_cannot_follow_is_listed_before_anything_is_changed(sales: Database) -> None:
    sales.perform(VIEW)
    sales.run(
        "create view v as select amount from per_shop; create materialized view m as select number from per_shop;"
        "create schema pgopt_shadow;"
        "comment on column per_shop.number is 'n'; create function f() returns bigint begin atomic select count(*) from per_shop; end"
    )
    before = sales.dump()
    with pytest.raises(InvalidOperation) as raised:
        sales.perform(
            ReplaceMaterializedView("per_shop", "select shop, sum(amount)::int as amount from sales group by shop")
        )
    said = str(raised.value)
    for each in (
        "there is a schema pgopt_shadow: rename it",
        "function f() is bound to the table itself",
        "the new query has no column 'number', which has its comment",
        "the new query has no column 'number', which has view m",
        "column 'amount' is integer in the new query, and view v has it as bigint: cast it",
    ):
        assert each in said
    assert sales.dump() == before


def test_views_on_top_are_built_of_the_new_one(sales: Database) -> None:
    sales.perform(VIEW)
    sales.run(
        "create materialized view top as select shop, number from per_shop where number > 1; create unique index on top (shop);"
        "create schema other; create materialized view other.last as select sum(number) as n from top"
    )
    sales.run("insert into sales (shop, amount) values (20, 1), (20, 2)")
    sales.perform(ReplaceMaterializedView("per_shop", f"{QUERY} having count(*) < 5", old=QUERY))
    assert sales.rows("select shop, number from top") == [(20, 2)]
    assert sales.value("select n from other.last") == 2
    assert sales.rows("select view_name, outcome from pgopt.freshness order by 1") == [
        ("last", "replaced"),
        ("per_shop", "replaced"),
        ("top", "replaced"),
    ]
    sales.run("call pgopt.refresh_all()")
    assert sales.value("select to_regnamespace('pgopt_shadow')") is None


def test_a_view_that_is_neither_old_nor_new_is_not_replaced(sales: Database) -> None:
    sales.perform(VIEW)
    with pytest.raises(InvalidOperation, match="is neither this nor what old= says"):
        sales.perform(ReplaceMaterializedView("per_shop", "select 1 as shop", old="select 2 as shop"))


def test_what_is_known_of_a_view_goes_over_to_its_successor(sales: Database) -> None:
    sales.perform(WATCHED)
    refresh(sales)
    query = f"{QUERY} having count(*) > 1"
    sales.perform(ReplaceMaterializedView("per_shop", query, old=QUERY))
    rows = sales.rows("select outcome, view::text from pgopt.refresh order by id")
    assert rows == [("created", "per_shop"), ("refreshed", "per_shop"), ("replaced", "per_shop")]
    assert not skipped(sales)
    assert skipped(sales)
    sales.run("insert into sales (shop, amount) values (11, 1), (11, 2)")
    assert not skipped(sales)
    assert sales.value("select number from per_shop where shop = 11") == 2
    sales.perform(ReplaceMaterializedView("per_shop", query, old=QUERY).reverse())
    sales.perform(WATCHED.reverse())
    for table in ("materialized", "refresh", "source", "dirty"):
        assert sales.value(f"select count(*) from pgopt.{table}") == 0, table


def test_readers_see_one_or_the_other(sales: Database) -> None:
    sales.perform(VIEW)
    with sales.connect() as reader:
        reader.execute("begin isolation level repeatable read")
        reader.execute("select * from per_shop")
        with pytest.raises(
            PgoptError,
            match=r"could not swap public.per_shop .*others kept it from ACCESS EXCLUSIVE on public.per_shop, .* in 3 attempts",
        ):
            sales.perform(ReplaceMaterializedView("per_shop", f"{QUERY} having true"))
        assert reader.execute("select count(*) from per_shop").fetchall() == [(3,)]
        reader.execute("commit")
    sales.perform(ReplaceMaterializedView("per_shop", f"{QUERY} having true"))
    assert sales.value("select to_regclass('per_shop_pgopt_new')") is None


def test_grants_by_others_and_strange_texts_go_along(sales: Database) -> None:
    sales.perform(VIEW)
    sales.run('create role one; create role "two %s"; grant usage on schema public to one')
    try:
        sales.run(
            'grant select on per_shop to one with grant option; set role one; grant select on per_shop to "two %s"; reset role;'
            "comment on materialized view per_shop is e'it''s; $$ end $pgopt$ \\\\ %s :x\n-- into'; comment on column per_shop.shop is 'a;b'"
        )
        before = sales.dump()
        query = f"{QUERY} having count(*) > 1"
        sales.perform(ReplaceMaterializedView("per_shop", query, old=QUERY))
        assert sales.dump() != before
        sales.perform(ReplaceMaterializedView("per_shop", QUERY, old=query))
        assert sales.dump() == before
    finally:
        sales.run('drop owned by one, "two %s" cascade; drop role one, "two %s"')


class Interrupted(Exception):
    """As if the runner was killed."""


def interrupt_after_swap(database: Database, operation: ReplaceMaterializedView) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.endswith(" was"):
            raise Interrupted

    with pytest.raises(Interrupted):
        database.perform(operation, pgopt_report=stop)


def test_what_an_interrupted_run_has_left_goes(sales: Database) -> None:
    sales.perform(VIEW)
    sales.run("comment on materialized view per_shop is 'c'; create materialized view top as select shop from per_shop")
    there = ReplaceMaterializedView("per_shop", f"{QUERY} having count(*) > 1", old=QUERY)
    for operation in (there, there.reverse(), there):
        interrupt_after_swap(sales, operation)
        # by a runner that refreshes all
        sales.value("select outcome from pgopt.refresh('per_shop_pgopt_gone')")
        sales.run("drop materialized view top")
        sales.perform(operation)
        assert sales.rows("select relname from pg_class where relkind = 'm'") == [("per_shop",)]
        assert sales.rows("select view::text from pgopt.materialized") == [("per_shop",)]
        assert sales.value("select obj_description('per_shop'::regclass)") == "c"
        sales.run("create materialized view top as select shop from per_shop")


@pytest.mark.parametrize("form", ["gone", "new"])
def test_what_somebody_else_has_named_so_stays(sales: Database, form: str) -> None:
    sales.perform(VIEW)
    sales.run(
        f"create materialized view per_shop_pgopt_{form} as select 1 as x; create view reads as select x from per_shop_pgopt_{form}"
    )
    before = sales.dump()
    replace = ReplaceMaterializedView("per_shop", f"{QUERY} having true", old=QUERY)
    with pytest.raises(
        InvalidOperation, match=rf"pgopt_{form} has the name that public\.per_shop takes .*: rename it$"
    ):
        sales.perform(replace)
    assert sales.dump() == before
    sales.run(f"alter materialized view per_shop_pgopt_{form} rename to mine")
    sales.perform(replace)
    assert sales.value("select x from reads") == 1


@pytest.mark.parametrize(
    ("statement", "user"),
    [
        ("create view reads as select shop from per_shop_pgopt_gone", "reads"),
        ("create table reads (x per_shop_pgopt_gone)", "column x of table reads"),
    ],
)
def test_what_was_built_on_something_left_is_not_dropped_with_it(sales: Database, statement: str, user: str) -> None:
    sales.perform(VIEW)
    replace = ReplaceMaterializedView("per_shop", f"{QUERY} having true", old=QUERY)
    interrupt_after_swap(sales, replace)
    sales.run(statement)
    before = sales.dump()
    with pytest.raises(
        InvalidOperation,
        match=f"per_shop_pgopt_gone is left over from a replacement and is to be dropped, but {user} uses it: drop",
    ):
        sales.perform(replace)
    assert sales.dump() == before
    sales.run(f"drop {statement.split()[1]} reads")
    sales.perform(replace)
    assert sales.value("select to_regclass('per_shop_pgopt_gone')") is None


def test_a_table_of_that_name_is_not_taken_for_it(sales: Database) -> None:
    sales.perform(VIEW)
    sales.run("create table per_shop_pgopt_gone (a int)")
    with pytest.raises(InvalidOperation, match=r"has the name that public\.per_shop takes for an instant: rename it"):
        sales.perform(ReplaceMaterializedView("per_shop", f"{QUERY} having true"))
    sales.run("drop table per_shop_pgopt_gone")


LATE = {
    "create materialized view late as select shop from per_shop": "public.late came meanwhile, and must be built over",
    "create function late() returns bigint language sql begin atomic select max(number) from per_shop; end": (
        r"this came meanwhile, .* function public\.late\(\) is bound to the table itself"
    ),
    "create function late(m per_shop) returns int language sql as 'select 1'": r"function public\.late\(public\.per_shop\) uses its row type",
    "create table late (x per_shop)": r"column x of table public\.late uses its row type",
    "create table lt (id int); create policy late on lt using (exists (select from per_shop))": r"policy late on table public\.lt is bound",
}


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("statement", LATE)
def test_what_came_between_the_plan_and_the_swap_is_not_lost(sales: Database, statement: str, *, indexed: bool) -> None:
    sales.perform(CreateMaterializedView("per_shop", QUERY, unique=["shop"] if indexed else []))
    replace = ReplaceMaterializedView("per_shop", f"{QUERY} having count(*) > 1", old=QUERY)

    def come(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.startswith("swap"):
            sales.run(statement)

    with pytest.raises(StatementFailed, match=rf"{LATE[statement]}.* run again"):
        sales.perform(replace, pgopt_report=come)
    assert "having" not in sales.value("select lower(pg_get_viewdef('per_shop'::regclass))")
    assert sales.value(
        "select count(*) from pg_depend where refobjid in ('per_shop'::regclass, (select reltype from pg_class where oid = 'per_shop'::regclass))"
        " and deptype = 'n' and pg_describe_object(classid, objid, objsubid) ~ 'late'"
    )


def test_a_view_that_came_meanwhile_follows_in_the_next_run(sales: Database) -> None:
    sales.perform(VIEW)
    replace = ReplaceMaterializedView("per_shop", f"{QUERY} having count(*) > 99", old=QUERY)

    def come(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.startswith("swap"):
            sales.run("create materialized view late as select shop from per_shop")

    with pytest.raises(StatementFailed, match="late came meanwhile"):
        sales.perform(replace, pgopt_report=come)
    sales.perform(replace)
    assert sales.value("select count(*) from late") == 0
    assert sales.rows("select relname from pg_class where relkind = 'm' order by 1") == [("late",), ("per_shop",)]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
@pytest.mark.parametrize(
    ("meanwhile", "told"),
    [
        (
            "create index late on per_shop (shop)",
            r'late_pgopt_new" does not exist; in SQL statement "alter index .*late.*"',
        ),
        (
            "create view late as select amount from per_shop",
            r"column .*amount\S* does not exist.*; in create or replace view public\.late as SELECT (per_shop\.)?amount",
        ),
    ],
)
def test_the_statement_that_fails_in_a_swap_is_named(sales: Database, meanwhile: str, told: str, driver: str) -> None:
    sales.perform(VIEW)
    replace = ReplaceMaterializedView("per_shop", "select shop, count(*) as number from sales group by shop")

    def come(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.startswith("swap"):
            sales.run(meanwhile)

    with pytest.raises(StatementFailed, match=told) as raised:
        sales.perform(replace, engine=sales.engine(driver), pgopt_report=come)
    assert "do $pgopt" not in str(raised.value)
    assert sales.value("select sum(amount) > 0 from per_shop")


def test_readers_wait_neither_for_the_disk_nor_for_files_to_go(sales: Database) -> None:
    sales.perform(VIEW)
    engine, sent = sales.engine(), []
    event.listen(engine, "before_cursor_execute", lambda *said: sent.append(said[2]))
    sales.perform(ReplaceMaterializedView("per_shop", f"{QUERY} having true"), engine=engine)
    begins = [at for at, each in enumerate(sent) if each.startswith("begin")]
    swap = next(at for at, each in enumerate(sent) if 'rename to "per_shop_pgopt_gone"' in each)
    end = sent.index("commit", swap)
    said = sent[max(at for at in begins if at < swap) : end]
    changes = [each for each in said if each.startswith(("do ", "alter ")) and "alter " in each]
    assert len(changes) <= 3, "to lock, and to exchange"
    assert any("synchronous_commit" in each for each in said)
    assert not any("drop materialized view" in each for each in said)
    [dropped] = (each for each in sent[end:] if "drop materialized view" in each)
    assert '"per_shop_pgopt_gone"' in dropped


# -- rights --------------------------------------------------------------------------------------------------------------


def test_a_role_that_owns_its_tables_and_nothing_else(database: Database) -> None:
    database.run('create role "Own er"; create schema "S x" authorization "Own er"')
    database.run(f'grant create on database {database.name} to "Own er"')
    engine = database.engine(connect_args={"options": '-c role=Own\\ er -c search_path="S\\ x"'})

    def perform(*operations: Any) -> None:
        database.perform(*operations, engine=engine)

    def run(statement: str) -> None:
        with database.connect() as connection:
            connection.execute('set role "Own er"; set search_path = "S x"')
            connection.execute(statement)

    try:
        run(SALES)
        query = f"{QUERY} having true"
        perform(InstallPgopt(1), WATCHED, RefreshMaterializedView("per_shop", concurrently=True))
        perform(ReplaceMaterializedView("per_shop", query, old=QUERY), RefreshMaterializedView("per_shop"))
        run("insert into sales (shop, amount) values (77, 1)")
        run("call pgopt.refresh_all()")
        assert database.value('select count(*) from "S x".per_shop where shop = 77') == 1
        perform(ReplaceMaterializedView("per_shop", QUERY, old=query), WATCHED.reverse(), UninstallPgopt(1))
    finally:
        database.run('drop schema "S x" cascade; drop owned by "Own er" cascade; drop role "Own er"')


def test_a_second_runner_of_the_same_kind_waits_its_turn(sales: Database) -> None:
    sales.perform(VIEW)
    with sales.connect() as one:
        one.execute("begin")
        one.execute("refresh materialized view concurrently per_shop")  # by hand
        pid = one.info.backend_pid
        with sales.connect() as two:
            two.execute("begin")
            assert two.execute("select outcome from pgopt.refresh('per_shop')").fetchall() == [("failed",)]
            two.execute("rollback")
        one.execute("commit")
    wait_until("it is gone", lambda: not sales.value(f"select exists (select from pg_stat_activity where pid = {pid})"))
    assert refresh(sales) == ("refreshed", None)


# -- jobs ----------------------------------------------------------------------------------------------------------------


def test_a_job_refreshes_the_view(sales: Database) -> None:
    view = CreateMaterializedView("per_shop", QUERY, unique=["shop"], refresh="every 20 seconds", schema="public")
    sales.perform(view)
    sales.run("insert into sales (shop, amount) values (7, 1)")
    assert sales.rows("select name, every::text, cron from pgopt.job") == [
        ("refresh public.per_shop", "00:00:20", None)
    ]
    sales.run("update pgopt.job set next_due = clock_timestamp()")
    with sales.engine(isolation_level="AUTOCOMMIT").connect() as connection:
        list(Runner(connection).round())
    assert sales.rows("select outcome, error from pgopt.job_run") == [("succeeded", None)]
    assert agrees(sales)
    sales.perform(DropMaterializedView("per_shop", schema="public"))
    assert sales.rows("select name from pgopt.job") == []


def test_a_view_that_is_refreshed_again_and_again_has_a_unique_index() -> None:
    with pytest.raises(InvalidOperation, match="readers would wait: say unique="):
        CreateMaterializedView("v", "select 1 as a", refresh="*/5 * * * *")
