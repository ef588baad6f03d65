"""Materialized views."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, Table, Text, func, select

from pgopt.operations import (
    CreateMaterializedView,
    DropMaterializedView,
    InstallPgopt,
    RefreshMaterializedView,
    ReplaceMaterializedView,
)
from tests.contract.examples.base import Example

INSTALLED = (InstallPgopt(1),)

SALES = """
create table shops (id int primary key, city text not null);
create table sales (id bigint generated always as identity primary key, shop int not null, amount int not null, note text);
insert into shops select g, 'city ' || g % 7 from generate_series(1, 40) g;
insert into sales (shop, amount) select 1 + g % 40, g from generate_series(1, 2000) g;
"""
SALES_WRITES = "insert into sales (shop, amount) values (1 + {n} % 40, {n}); delete from sales where id = {n}"
PER_SHOP = "select shop, count(*) as number, sum(amount) as amount from sales group by shop"
PER_CITY = "select h.city, sum(s.amount) as amount from sales s join shops h on h.id = s.shop group by h.city"

PER_SHOP_AND_MORE = "select shop, 1 + count(*) as number, sum(amount) as amount, max(note) as note from sales group by shop having count(*) > 1"
# all that belongs to a view, and may be granted to a role that is there on each server
BELONGINGS = """
comment on materialized view per_shop is 'per % :shop'; comment on column per_shop.amount is 'su%m';
create index "by ""amount"" x" on per_shop (amount desc nulls last) include (number) with (fillfactor = 70) where number > 1;
comment on index "by ""amount"" x" is 'an index';
alter materialized view per_shop set (autovacuum_vacuum_threshold = 77, toast.autovacuum_enabled = off);
alter materialized view per_shop alter column amount set statistics 300;
alter materialized view per_shop alter column shop set (n_distinct = 40);
create statistics st_per_shop on shop, amount from per_shop; comment on statistics st_per_shop is 'st';
alter table per_shop cluster on per_shop_shop_idx;
grant select on per_shop to public; grant select (amount) on per_shop to pg_monitor with grant option;
create view best with (security_barrier = true) as select p.shop, p.amount, h.city from per_shop p join shops h on h.id = p.shop where amount > 5;
create view better as select * from best where amount > 7; comment on view best is 'best'; grant select on best to pg_monitor;
create view other_schema as select q.shop from per_shop q, better b where b.shop = q.shop;
"""

METADATA = MetaData()
SALES_TABLE = Table("sales", METADATA, Column("id", Integer), Column("shop", Integer), Column("note", Text))
SHOPS_TABLE = Table("shops", METADATA, Column("id", Integer), Column("city", Text))
BY_SQLALCHEMY = (
    select(SHOPS_TABLE.c.city, func.count().label("n %"))
    .join(SALES_TABLE, SALES_TABLE.c.shop == SHOPS_TABLE.c.id)
    .where(SALES_TABLE.c.note.is_distinct_from("100 %:x"))
    .group_by(SHOPS_TABLE.c.city)
)

STRANGE = """
create schema "S x%";
create table "S x%"."Sa'les :x" (id uuid, "Day %s" date, "a:mount" int not null, primary key (id, "Day %s")) partition by range ("Day %s");
create table "S x%"."Part 1" partition of "S x%"."Sa'les :x" for values from ('2024-01-01') to ('2025-01-01');
create table "S x%"."Part 2" partition of "S x%"."Sa'les :x" for values from ('2025-01-01') to ('2026-01-01');
insert into "S x%"."Sa'les :x" select gen_random_uuid(), '2024-06-01'::date + g, g from generate_series(1, 300) g;
"""
STRANGE_WRITES = """insert into "S x%"."Sa'les :x" values (gen_random_uuid(), '2025-01-01', {n})"""
STRANGE_QUERY = 'select "Day %s", sum("a:mount")::int as "a:mount" from "S x%"."Sa\'les :x" group by "Day %s"; '
LONG = "v" * 63

EXAMPLES = [
    Example(
        "create a materialized view",
        SALES,
        CreateMaterializedView("per_shop", PER_SHOP, unique=["shop"], indexes=["amount desc", ["number", "shop"]]),
        writes=SALES_WRITES,
    ),
    Example(
        "create a materialized view whose sources are watched",
        SALES,
        CreateMaterializedView("per_city", PER_CITY, unique=["city"], depends_on=["sales", "shops"]),
        before=INSTALLED,
        writes=SALES_WRITES,
        named=True,
    ),
    Example(
        "create a materialized view without rows",
        SALES,
        CreateMaterializedView("per_shop", PER_SHOP, unique=["shop"], with_data=False),
        before=INSTALLED,
        writes=SALES_WRITES,
    ),
    Example(
        "create a materialized view of a SQLAlchemy select",
        SALES,
        CreateMaterializedView("per_city", BY_SQLALCHEMY, unique=["city"], indexes=['"n %" desc']),
        before=INSTALLED,
        writes=SALES_WRITES,
    ),
    Example(
        "create a materialized view of strange names over partitions",
        STRANGE,
        CreateMaterializedView(
            'By "day" %s:x',
            STRANGE_QUERY,
            unique=['"Day %s"'],
            indexes=['("a:mount" % 7)'],
            depends_on=["Sa'les :x"],
            schema="S x%",
        ),
        before=INSTALLED,
        writes=STRANGE_WRITES,
    ),
    Example(
        "create a materialized view of a long name over views",
        SALES + f"create view cities as {PER_CITY}; create view big as select * from cities where amount > 10",
        CreateMaterializedView(LONG, "select city, amount from big", unique=["city"], depends_on=["sales", "shops"]),
        before=INSTALLED,
        writes=SALES_WRITES,
    ),
    Example(
        "create a second materialized view on watched tables",
        SALES,
        CreateMaterializedView("per_shop", PER_SHOP, depends_on=["sales"]),
        before=(
            *INSTALLED,
            CreateMaterializedView("per_city", PER_CITY, unique=["city"], depends_on=["sales", "shops"]),
        ),
        writes=SALES_WRITES,
    ),
    Example(
        "drop a materialized view",
        SALES,
        DropMaterializedView("per_shop", PER_SHOP, unique=["shop"], indexes=["amount desc"]),
        before=(CreateMaterializedView("per_shop", PER_SHOP, unique=["shop"], indexes=["amount desc"]),),
        writes=SALES_WRITES,
    ),
    Example(
        "drop a materialized view whose sources are watched",
        SALES,
        DropMaterializedView("per_city", PER_CITY, unique=["city"], depends_on=["sales", "shops"]),
        before=(
            *INSTALLED,
            CreateMaterializedView("per_city", PER_CITY, unique=["city"], depends_on=["sales", "shops"]),
        ),
        writes=SALES_WRITES,
    ),
    Example(
        "drop a materialized view of strange names",
        STRANGE,
        DropMaterializedView('By "day" %s:x', STRANGE_QUERY, schema="S x%"),
        before=(*INSTALLED, CreateMaterializedView('By "day" %s:x', STRANGE_QUERY, schema="S x%")),
        writes=STRANGE_WRITES,
    ),
    Example(
        "refresh a materialized view concurrently",
        SALES,
        RefreshMaterializedView("per_shop", concurrently=True),
        before=(*INSTALLED, CreateMaterializedView("per_shop", PER_SHOP, unique=["shop"])),
        writes=SALES_WRITES + "; select * from per_shop",
        named=True,
    ),
    Example(
        "refresh a materialized view of strange names that has no rows yet",
        STRANGE,
        RefreshMaterializedView('By "day" %s:x', schema="S x%"),
        before=(
            *INSTALLED,
            CreateMaterializedView('By "day" %s:x', STRANGE_QUERY, unique=['"Day %s"'], schema="S x%", with_data=False),
        ),
        writes=STRANGE_WRITES,
    ),
    Example(
        "replace a materialized view",
        SALES + f"create materialized view per_shop as {PER_SHOP};",
        ReplaceMaterializedView("per_shop", PER_SHOP_AND_MORE, old=PER_SHOP),
        before=INSTALLED,
        writes=SALES_WRITES + "; select shop, number, amount from per_shop",
        scriptable=False,
    ),
    Example(
        "replace a materialized view with all that belongs to it",
        SALES
        + f"create materialized view per_shop as {PER_SHOP}; create unique index on per_shop (shop); {BELONGINGS}",
        ReplaceMaterializedView("per_shop", PER_SHOP_AND_MORE, old=PER_SHOP),
        before=INSTALLED,
        writes=SALES_WRITES + "; select shop, number, amount from per_shop; select * from best",
        scriptable=False,
        named=True,
    ),
    Example(
        "replace a materialized view of strange names",
        STRANGE
        + f"""create materialized view "S x%"."{LONG}" as {STRANGE_QUERY}
        create unique index "{LONG[:-1]}i" on "S x%"."{LONG}" ("Day %s");
        create view "on %s" as select "Day %s" from "S x%"."{LONG}";""",
        ReplaceMaterializedView(
            LONG,
            STRANGE_QUERY.replace("sum(", "max("),
            old=STRANGE_QUERY,
            schema="S x%",
        ),
        writes=STRANGE_WRITES + f"""; select * from "S x%"."{LONG}"; select * from "on %s" """,
        scriptable=False,
    ),
    Example(
        "replace a materialized view that has no rows yet, on watched tables",
        SALES,
        ReplaceMaterializedView("per_city", PER_CITY + " having count(*) > 1", old=PER_CITY),
        before=(
            *INSTALLED,
            CreateMaterializedView(
                "per_city", PER_CITY, unique=["city"], depends_on=["sales", "shops"], with_data=False
            ),
        ),
        writes=SALES_WRITES,
        scriptable=False,
    ),
    Example(
        "replace a materialized view with others on top of it",
        SALES
        + f"""create schema "S x"; create materialized view per_shop as {PER_SHOP}; create unique index on per_shop (shop);
        create view v as select shop, amount from per_shop; create materialized view through as select * from v;
        create materialized view "S x"."O'n %s" with (fillfactor = 80) as
            select p.number, abs(p.amount) as amount, through.amount as other, (select max(h.city) from shops h) as city
            from per_shop p join through using (shop) where p.amount > 3;
        create index "in ""it" on "S x"."O'n %s" (number, amount); comment on column "S x"."O'n %s".number is 'n';
        create materialized view last as select count(*) as n from "S x"."O'n %s", per_shop; grant select on last to pg_monitor;
        create view very_last as select l.n, p.shop, o.city from last l, per_shop p, "S x"."O'n %s" o;""",
        ReplaceMaterializedView("per_shop", PER_SHOP_AND_MORE, old=PER_SHOP),
        before=INSTALLED,
        writes=SALES_WRITES + "; select n from last; select shop from very_last limit 1; select * from through",
        scriptable=False,
    ),
    Example(
        "create a materialized view that a job refreshes",
        SALES,
        CreateMaterializedView("per_shop", PER_SHOP, unique=["shop"], refresh="*/15 * * * *", schema="public"),
        before=INSTALLED,
        writes=SALES_WRITES,
    ),
    Example(
        "drop a materialized view of strange names that a job refreshes",
        STRANGE,
        DropMaterializedView(
            'By "day" %s:x',
            STRANGE_QUERY,
            unique=['"Day %s"'],
            depends_on=["Sa'les :x"],
            refresh="every 20 seconds",
            schema="S x%",
        ),
        before=(
            *INSTALLED,
            CreateMaterializedView(
                'By "day" %s:x',
                STRANGE_QUERY,
                unique=['"Day %s"'],
                depends_on=["Sa'les :x"],
                refresh="every 20 seconds",
                schema="S x%",
            ),
        ),
        writes=STRANGE_WRITES,
    ),
]
