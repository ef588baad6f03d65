"""Columns that triggers keep."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import column, func

from pgopt.operations import (
    DenormalizeAggregate,
    DenormalizeColumns,
    DropDenormalizedAggregate,
    DropDenormalizedColumns,
    InstallPgopt,
    VerifyDenormalized,
)
from tests.contract.examples.base import Example

INSTALLED = (InstallPgopt(1),)
LONG = "t" * 63
LONG_COLUMN = "ü" * 31

TICKETS = """
create table tickets (id bigint generated always as identity primary key, title text not null);
create table comments (id bigint generated always as identity primary key,
                       ticket_id bigint not null references tickets on delete cascade,
                       body text, value int, created_at timestamptz not null default '2024-01-01');
create index on comments (ticket_id, created_at);
insert into tickets (title) select 'ticket ' || g from generate_series(1, 300) g;
insert into comments (ticket_id, body, value, created_at)
    select g % 290 + 1, 'b' || g, nullif(g % 7, 3), timestamptz '2024-01-01' + g * interval '1 hour' from generate_series(1, 900) g;
"""
TICKET_WRITES = """
insert into tickets (title) values ('new {n}');
insert into comments (ticket_id, body, value, created_at) values ({n} % 300 + 1, 'new', {n}, '2025-01-01'), ({n} % 7 + 1, 'new', 1, '2023-01-01');
update comments set value = value + 1, ticket_id = {n} % 11 + 1 where id = {n};
delete from comments where ticket_id = {n} % 300 + 1 and body = 'new';
"""
COUNTED = {
    "comment_count": "count(*)",
    "last_comment_at": "max(created_at)",
    "value": "sum(value)",
    "small": "count(*) filter (where value < 3 and body like 'b%' and body <> ':x')",
}
COUNTS = DenormalizeAggregate("tickets", source="comments", on={"id": "ticket_id"}, columns=COUNTED)

USERS = """
create table users (id uuid primary key default gen_random_uuid(), name text);
create table profiles (user_id uuid primary key references users on delete cascade on update cascade, country char(2),
                       ghost boolean not null default false, about jsonb);
insert into users (id, name) select md5(g::text)::uuid, 'u' || g from generate_series(1, 300) g;
insert into profiles select id, 'D' || left(name, 1), name like '%7', '{"a": 1}' from users where name not like '%3';
"""
USER_WRITES = """
insert into users (id, name) values (md5('n{n}')::uuid, 'new {n}');
insert into profiles (user_id, country) values (md5('n{n}')::uuid, 'NL');
update profiles set country = 'FR', about = '[]' where user_id = md5(({n} % 300)::text)::uuid;
update users set id = md5('m{n}')::uuid where id = md5(({n} * 3)::text)::uuid;
delete from profiles where user_id = md5(({n} * 5)::text)::uuid;
"""
PROFILES = DenormalizeColumns(
    "users",
    source="profiles",
    on={"id": "user_id"},
    columns={"country": "country", "ghost": "ghost", "about": "about"},
    defaults={"ghost": "false"},
)

STRANGE = """
create schema "S x"; create schema "Other:1";
create domain "Other:1"."Short %s" as varchar(20) check (value <> 'never');
create type "Other:1"."State" as enum ('on', 'off');
create function "Other:1"."Loud"(text) returns text immutable language sql as 'select upper($1)';
create table "S x"."Order ""1"" x" ("Id %s" int, "re:gion" text collate "C", "user" int, primary key ("Id %s", "re:gion"));
create table "Other:1"."Customer's" (k1 int not null, "re:gion" text not null, "Name" "Other:1"."Short %s", "State" "Other:1"."State", "t" int, unique ("re:gion", k1));
create index on "S x"."Order ""1"" x" ("re:gion", "user");
insert into "Other:1"."Customer's" select g, 'r' || g % 3, 'name ' || g, case g % 2 when 0 then 'on' else 'off' end::"Other:1"."State", g from generate_series(1, 40) g;
insert into "S x"."Order ""1"" x" select g, 'r' || g % 3, nullif(g % 45, 7) from generate_series(1, 400) g;
"""

STRANGE_WRITES = """
insert into "S x"."Order ""1"" x" values ({n} + 1000, 'r1', {n} % 45) on conflict do nothing;
insert into "Other:1"."Customer's" values ({n} + 30, 'r' || {n} % 3, 'new', 'on') on conflict do nothing;
update "Other:1"."Customer's" set "Name" = 'w{n}' where k1 = {n} % 40;
update "S x"."Order ""1"" x" set "user" = {n} % 45 where "Id %s" = {n};
"""

LONG_SETUP = (
    f"create table {LONG} (id int primary key, {LONG_COLUMN} text unique); create table s{LONG[1:]} ({LONG_COLUMN} text);"
    f" create index on s{LONG[1:]} ({LONG_COLUMN}); insert into {LONG} select g, 'k' || g from generate_series(1, 100) g;"
    f" insert into s{LONG[1:]} select 'k' || g % 120 from generate_series(1, 500) g"
)
LONG_WRITES = (
    f"insert into {LONG} values ({{n}} + 100, 'k' || {{n}} + 100); insert into s{LONG[1:]} values ('k{{n}}'), (null), ('k110');"
    f" delete from s{LONG[1:]} where {LONG_COLUMN} = 'k' || {{n}} % 7"
)

DEFERRED = replace(COUNTS, deferred="every 20 seconds")

PARTED = """
create table users (id int primary key);
create schema "L s";
create table "L s"."Log %s" ("At:" date not null, user_id int, bytes numeric, primary key ("At:", user_id)) partition by range ("At:");
create table "L s"."log 1" partition of "L s"."Log %s" for values from ('2024-01-01') to ('2024-02-01') partition by list (user_id);
create table "L s"."log 1 1" partition of "L s"."log 1" for values in (1, 2, 3);
create table "L s"."log 1 x" partition of "L s"."log 1" default;
create table "L s"."log 2" (bytes numeric, user_id int not null, "At:" date not null);
alter table "L s"."log 2" add primary key ("At:", user_id);
alter table "L s"."Log %s" attach partition "L s"."log 2" for values from ('2024-02-01') to (maxvalue);
create index on "L s"."Log %s" (user_id);
insert into users select g from generate_series(1, 100) g;
insert into "L s"."Log %s" select date '2024-01-01' + g, g % 90 + 1, g from generate_series(0, 60) g;
"""
PARTED_WRITES = """
delete from "L s"."Log %s" where user_id = {n} % 50 + 1 and "At:" between '2025-01-02' and '2025-12-31';
insert into "L s"."Log %s" values ('2025-01-01', {n}, -{n}), ('2024-01-20', {n} % 50 + 1, {n}) on conflict do nothing;
insert into "L s"."log 2" ("At:", user_id, bytes) values ('2026-01-01', {n} % 100 + {n} * 100, -0.5 - {n}) on conflict do nothing;
update "L s"."Log %s" set "At:" = "At:" + 365 where user_id = {n} % 50 + 1 and "At:" = '2024-01-20';
delete from "L s"."log 2" where user_id = {n} % 3;
"""
PARTED_COUNTS = DenormalizeAggregate(
    "users",
    source="Log %s",
    on={"id": "user_id"},
    columns={"entries": "count(*)", "bytes": "sum(bytes)", "latest": 'max("At:")'},
    schema="public",
    source_schema="L s",
)

SPREAD = """
create table people (who uuid primary key, name text);
create schema "T:s";
create table "T:s"."Tick""et %s" ("Id" int, "Area:%s" text collate "C" not null, who uuid, title text, primary key ("Id", "Area:%s"))
    partition by list ("Area:%s");
create table "T:s"."open %s" partition of "T:s"."Tick""et %s" for values in ('open', 'new') partition by hash ("Id");
create table "T:s"."open 1" partition of "T:s"."open %s" for values with (modulus 2, remainder 0);
create table "T:s"."open 2" partition of "T:s"."open %s" for values with (modulus 2, remainder 1);
create table public."open 2" (title text, who uuid, "Area:%s" text collate "C" not null, "Id" int not null);
alter table public."open 2" add primary key ("Id", "Area:%s");
alter table "T:s"."Tick""et %s" attach partition public."open 2" default;
create index on "T:s"."Tick""et %s" (who);
create table replies (id bigint generated always as identity primary key, ticket int, value numeric);
create index on replies (ticket);
insert into people select md5(g::text)::uuid, 'p' || g from generate_series(1, 20) g;
insert into "T:s"."Tick""et %s" select g, case g % 3 when 0 then 'open' when 1 then 'new' else 'done' end, md5((g % 25)::text)::uuid, 't'
    from generate_series(1, 300) g;
insert into replies (ticket, value) select g % 290, g from generate_series(1, 600) g;
"""
SPREAD_WRITES = """
insert into "T:s"."Tick""et %s" values ({n} + 300, 'open', md5(({n} % 25)::text)::uuid, 'new') on conflict do nothing;
insert into replies (ticket, value) values ({n} % 290 + 1, {n}), ({n} + 300, 1);
update "T:s"."Tick""et %s" set "Area:%s" = case "Area:%s" when 'open' then 'done' else 'open' end where "Id" in ({n} % 300, {n} * 7 % 300);
update public."open 2" set who = md5('1')::uuid where "Id" = {n} * 3 % 300;
update people set name = 'w{n}' where who = md5(({n} % 20)::text)::uuid;
delete from replies where ticket = {n} * 5 % 290 and value < 500;
"""
SPREAD_COUNTS = DenormalizeAggregate(
    'Tick"et %s',
    source="replies",
    on={"Id": "ticket"},
    columns={"re:plies %s": "count(*)", "best": "max(value)"},
    schema="T:s",
    source_schema="public",
)
SPREAD_NAMES = DenormalizeColumns(
    'Tick"et %s',
    source="people",
    on={"who": "who"},
    columns={"Na:me %s": "name"},
    defaults={"Na:me %s": "'100% :x'"},
    read_only=True,
    schema="T:s",
    source_schema="public",
)

EXAMPLES = [
    Example(
        "denormalize counts, sums and extremes",
        TICKETS,
        COUNTS,
        before=INSTALLED,
        writes=TICKET_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "denormalize what is read again",
        TICKETS,
        DenormalizeAggregate(
            "tickets",
            source="comments",
            on={"id": "ticket_id"},
            columns={"bodies": "array_agg(body order by id)", "mean": "avg(value)", "any_big": "bool_or(value > 100)"},
            read_only=True,
        ),
        before=INSTALLED,
        writes=TICKET_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize a SQLAlchemy expression",
        TICKETS,
        DenormalizeAggregate(
            "tickets",
            source="comments",
            on={"id": "ticket_id"},
            columns={"comment_count": func.count(), "longest": func.max(func.length(column("body")))},
        ),
        before=INSTALLED,
        writes=TICKET_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize columns of a companion",
        USERS,
        PROFILES,
        before=INSTALLED,
        writes=USER_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize columns of a parent, of strange names",
        STRANGE,
        DenormalizeColumns(
            'Order "1" x',
            source="Customer's",
            on={"re:gion": "re:gion", "user": "k1"},
            columns={"Na:me %s": "Name", "Loud": '"Other:1"."Loud"("Name")', "state": "State", "t": "t"},
            defaults={"Na:me %s": "'100% :x'"},
            read_only=True,
            schema="S x",
            source_schema="Other:1",
        ),
        before=INSTALLED,
        writes=STRANGE_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize with names of 63 bytes, without a foreign key",
        LONG_SETUP,
        DenormalizeAggregate(
            LONG, source=f"s{LONG[1:]}", on={LONG_COLUMN: LONG_COLUMN}, columns={f"n{LONG[1:]}": "count(*)"}
        ),
        before=INSTALLED,
        writes=LONG_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize from the table itself",
        "create table categories (id int primary key, parent_id int references categories); create index on categories (parent_id);"
        " insert into categories select g, nullif(g / 3, 0) from generate_series(1, 200) g",
        DenormalizeAggregate(
            "categories",
            source="categories",
            on={"id": "parent_id"},
            columns={"children": "count(*)", "last_child": "max(id)"},
            read_only=True,
        ),
        before=INSTALLED,
        writes="insert into categories values ({n} + 1000, {n} % 200 + 1); update categories set parent_id = null where id = {n} % 50 + 3",
        scriptable=False,
    ),
    Example(
        "denormalize from a partitioned table",
        PARTED,
        PARTED_COUNTS,
        before=INSTALLED,
        writes=PARTED_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize from a partitioned table, deferred",
        PARTED,
        replace(PARTED_COUNTS, deferred="every 20 seconds"),
        before=INSTALLED,
        writes=PARTED_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize in a partitioned table",
        SPREAD,
        SPREAD_COUNTS,
        before=INSTALLED,
        writes=SPREAD_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize columns in a partitioned table",
        SPREAD,
        SPREAD_NAMES,
        before=INSTALLED,
        writes=SPREAD_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "denormalize in a partitioned table, deferred",
        SPREAD,
        replace(SPREAD_COUNTS, deferred="every 20 seconds"),
        before=INSTALLED,
        writes=SPREAD_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize columns in a partitioned table, deferred",
        SPREAD,
        replace(SPREAD_NAMES, deferred="every 20 seconds"),
        before=INSTALLED,
        writes=SPREAD_WRITES,
        scriptable=False,
    ),
    Example(
        "drop what is denormalized in a partitioned table",
        SPREAD,
        SPREAD_COUNTS.reverse(),
        before=(*INSTALLED, SPREAD_COUNTS),
        writes=SPREAD_WRITES,
        scriptable=False,
    ),
    Example(
        "drop denormalized columns",
        USERS,
        DropDenormalizedColumns(
            **{name: getattr(PROFILES, name) for name in ("table", "source", "on", "columns", "defaults")}
        ),
        before=(*INSTALLED, PROFILES),
        writes=USER_WRITES,
        scriptable=False,
    ),
    Example(
        "drop a denormalized aggregate",
        TICKETS,
        DropDenormalizedAggregate("tickets", source="comments", on={"id": "ticket_id"}, columns=COUNTED),
        before=(*INSTALLED, COUNTS),
        writes=TICKET_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize counts whose changes are folded in by a job",
        TICKETS,
        DEFERRED,
        before=INSTALLED,
        writes=TICKET_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "denormalize columns of strange names, deferred",
        STRANGE,
        DenormalizeColumns(
            'Order "1" x',
            source="Customer's",
            on={"re:gion": "re:gion", "user": "k1"},
            columns={"Na:me %s": "Name", "Loud": '"Other:1"."Loud"("Name")', "state": "State"},
            defaults={"Na:me %s": "'100% :x'"},
            read_only=True,
            deferred="*/5 * * * *",
            schema="S x",
            source_schema="Other:1",
        ),
        before=INSTALLED,
        writes=STRANGE_WRITES,
        scriptable=False,
    ),
    Example(
        "denormalize with names of 63 bytes, deferred",
        LONG_SETUP,
        DenormalizeAggregate(
            LONG,
            source=f"s{LONG[1:]}",
            on={LONG_COLUMN: LONG_COLUMN},
            columns={f"n{LONG[1:]}": "count(*)"},
            deferred="every 1 minute",
        ),
        before=INSTALLED,
        writes=LONG_WRITES,
        scriptable=False,
    ),
    Example(
        "drop a denormalized aggregate whose changes wait",
        TICKETS,
        DEFERRED.reverse(),
        before=(*INSTALLED, DEFERRED),
        writes=TICKET_WRITES,
        scriptable=False,
    ),
    Example(
        "verify denormalized columns",
        TICKETS,
        VerifyDenormalized("tickets"),
        before=(*INSTALLED, COUNTS),
        writes=TICKET_WRITES,
        scriptable=False,
    ),
    Example(
        "repair denormalized columns",
        USERS,
        VerifyDenormalized("users", columns=["ghost"], repair=True),
        before=(*INSTALLED, PROFILES),
        writes=USER_WRITES,
        scriptable=False,
    ),
]
