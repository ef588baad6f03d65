"""Tables that become partitioned and plain again, with all that people hang on them."""

from __future__ import annotations

from pgopt import Daily, Hash, IntRange, ListOf, Monthly, Quarterly, Weekly, Yearly
from pgopt.operations import (
    CreateMaterializedView,
    FinalizePartitioning,
    InstallPgopt,
    PartitionTable,
    UnpartitionTable,
)
from tests.contract.examples.base import Example

INSTALLED = (InstallPgopt(1),)

LOGS = """
create table logs (id uuid not null default gen_random_uuid(), action text, created_at timestamptz not null,
                   primary key (id, created_at));
insert into logs (action, created_at)
    select 'act' || g, timestamptz '2026-05-28 00:00:00+00' + g * interval '90 minutes' from generate_series(1, 2000) g;
create index logs_action on logs (action) where action <> 'x';
"""
LOG_WRITES = """
insert into logs (action, created_at) values ('new {n}', timestamptz '2026-08-01 00:00:00+00' + {n} * interval '1 hour');
update logs set action = action || '!', created_at = created_at + interval '3 days' where action = 'act' || ({n} % 2000);
delete from logs where action = 'new ' || ({n} - 3);
"""

# all that can belong to a table
RICH = """
create schema "S x";
create table "S x".users (id int primary key);
insert into "S x".users select generate_series(1, 10);
create table "S x"."Logs" (
    "Id" bigint generated always as identity (start with 100 increment 3) primary key,
    action text collate "C" not null default 'a' check (action <> ''),
    user_id int references "S x".users on delete cascade,
    meta jsonb,
    "createdAt" timestamp not null default '2026-08-01',
    length int generated always as (length(action)) stored,
    number serial,
    code text unique
);
insert into "S x"."Logs" (action, user_id, "createdAt", code)
    select 'act' || g, 1 + g % 10, timestamp '2026-05-03 00:00:00' + g * interval '3 hours', 'c' || g
    from generate_series(1, 700) g;
create index "Logs by user" on "S x"."Logs" (user_id, "createdAt" desc) include (action) where action <> 'z';
create unique index logs_lower on "S x"."Logs" (lower(code));
create function note() returns trigger language plpgsql as $$ begin new.meta := '{"by":"trigger"}'; return new; end $$;
create trigger "fill meta" before insert or update on "S x"."Logs" for each row when (new.meta is null) execute function note();
create trigger off after insert on "S x"."Logs" for each statement execute function note();
alter table "S x"."Logs" disable trigger off;
comment on trigger "fill meta" on "S x"."Logs" is 'it''s';
alter table "S x"."Logs" enable row level security;
create policy p on "S x"."Logs" as restrictive for update to pg_monitor using (user_id > 0) with check (user_id > 1);
create policy q on "S x"."Logs" using (true);
grant select on "S x"."Logs" to pg_monitor with grant option;
grant insert (action) on "S x"."Logs" to pg_read_all_data;
grant select on "S x"."Logs" to public;
comment on table "S x"."Logs" is 'lo%gs';
comment on column "S x"."Logs".action is 'act';
comment on index "S x"."Logs by user" is 'by user';
comment on constraint "Logs_pkey" on "S x"."Logs" is 'pk';
alter table "S x"."Logs" alter column action set statistics 500;
alter table "S x"."Logs" set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_enabled = false);
create statistics "S x"."St" (dependencies) on user_id, action from "S x"."Logs";
comment on statistics "S x"."St" is 'statistics';
create view recent as select "Id", action, "createdAt" at from "S x"."Logs" where "createdAt" > '2026-06-01';
create view "S x".more with (security_barrier, check_option = local) as select "Id", code from "S x"."Logs" where code > 'c';
create view on_top as select * from recent;
alter table "S x"."Logs" replica identity full;
grant select on recent to pg_monitor;
"""
RICH_WRITES = """
insert into "S x"."Logs" (action, user_id, code) values ('new {n}', 1, 'new {n}') on conflict do nothing;
update "S x"."Logs" set action = action || '!', "createdAt" = "createdAt" + interval '3 days' where code = 'c' || {n};
delete from "S x"."Logs" where code = 'new ' || ({n} - 3);
update "S x".more set code = code where code = 'c5';
"""

ORDERS = """
create table orders (region text not null, id int not null, total numeric, at date not null, primary key (region, id));
insert into orders select (array['DE', 'FR', 'US'])[1 + g % 3], g, g, date '2026-01-01' + g % 200 from generate_series(1, 900) g;
"""
ORDER_WRITES = """
insert into orders values ('DE', 10000 + {n}, 1, '2026-07-07'); update orders set total = total + 1 where id = {n};
delete from orders where id = 10000 + {n} - 3
"""

EVENTS = """
create table events (id bigint primary key, at bigint not null, kind text);
insert into events select g, 1775000000000 + g * 3600000::bigint, 'k' || g % 7 from generate_series(1, 1500) g;
"""
EVENT_WRITES = """
insert into events values (100000 + {n}, 1785000000000 + {n}, 'new'); update events set kind = 'u' where id = {n};
delete from events where id = 100000 + {n} - 2
"""

SMALL = """
create table small (id int primary key, at date not null);
insert into small select g, date '2026-10-01' + g from generate_series(1, 60) g;
"""
SMALL_WRITES = "insert into small values ({n} + 1000, '2026-11-05'); update small set at = date '2026-10-20' + {n} % 40 where id = {n} % 50"

REFERRED = """
create table teams (id int primary key, since date not null, name text);
insert into teams select g, date '2025-06-01' + g, 'team ' || g from generate_series(1, 300) g;
create table players (id int primary key, team int constraint in_team references teams on delete set null);
insert into players select g, 1 + g % 300 from generate_series(1, 500) g;
"""

# keys of version 7: the time in milliseconds comes first
KEYED = """
create table keyed (id uuid primary key, note text);
insert into keyed select (lpad(to_hex(1767225600000 + g * 86400000::bigint), 12, '0') || '70008000000000000000')::uuid, 'n' || g
    from generate_series(0, 200, 4) g;
"""
KEYED_WRITES = """
insert into keyed values ((lpad(to_hex(1777225600000 + {n}), 12, '0') || '70008000000000000000')::uuid, 'new');
update keyed set note = 'u{n}' where note = 'n' || ({n} % 50 * 4)
"""

FEW = "create table few (id int primary key, n int); insert into few select g, g from generate_series(-20, 40) g"
FEW_WRITES = "insert into few values (1000 + {n}); update few set n = {n} where id = {n} % 40; delete from few where id = 1000 + {n} - 2"

FAMILY = """
create table family (id int primary key, parent int constraint "its pare:nt" references family on delete set null deferrable);
insert into family select g, nullif(g / 2, 0) from generate_series(1, 40) g;
"""
FAMILY_WRITES = "insert into family values (100 + {n}, 1 + {n} % 40); update family set parent = 1 + {n} % 20 where id = 21 + {n} % 20"

LONG = "l" * 63
LONG_NAMES = f"""
create table {LONG} ({LONG[1:]} int, at date not null, constraint {LONG[2:]} primary key ({LONG[1:]}, at));
create index {LONG[3:]} on {LONG} (at);
insert into {LONG} select g, date '2026-10-30' + g % 4 from generate_series(1, 40) g;
"""
LONG_WRITES = f"insert into {LONG} values (100 + {{n}}, date '2026-10-30' + {{n}} % 4)"

STRANGE = """
create schema "S: %s";
create table "S: %s"."O'r""ders %" ("Id: %" int not null, "re:gion" text not null, "100%" numeric default 1.5,
    constraint "the: key %" primary key ("Id: %", "re:gion"), constraint "is 100%" check ("100%" <> 7));
create index "by: %" on "S: %s"."O'r""ders %" (("100%" % 10), lower("re:gion" || ':x%'));
comment on table "S: %s"."O'r""ders %" is '%s :x';
insert into "S: %s"."O'r""ders %" select g, (array['D:E', 'F%R', 'it''s', 'U"S'])[1 + g % 4] from generate_series(1, 60) g;
"""
STRANGE_WRITES = """
insert into "S: %s"."O'r""ders %" values (100 + {n}, (array['D:E', 'it''s'])[1 + {n} % 2]);
update "S: %s"."O'r""ders %" set "100%" = {n} + 0.5 where "Id: %" = {n} % 60
"""

REFERRING = """
create table buyers (id int, zone int, primary key (id, zone)); insert into buyers select g, g % 3 from generate_series(1, 20) g;
create table sales (id bigint generated by default as identity primary key, buyer int, zone int, at timestamp not null, note text,
    constraint "of buyer" foreign key (buyer, zone) references buyers match full on update cascade deferrable initially deferred);
create index on sales (buyer, zone);
create table returned (sale bigint constraint "of buyer" references sales);
insert into sales (buyer, zone, at) select 1 + g % 20, (1 + g % 20) % 3, timestamp '2026-03-01' + g * interval '1 day' from generate_series(1, 90) g;
"""
REFERRING_WRITES = """
insert into sales (buyer, zone, at) values (1 + {n} % 20, (1 + {n} % 20) % 3, '2026-05-05');
update sales set at = at + interval '1 month' where id = {n} % 90 and at < '2027-01-01'
"""

SEEN_BY_ALL = """
create table notes (id int generated always as identity primary key, at date not null, owner text not null default current_user);
insert into notes (at) select date '2026-09-01' + g from generate_series(1, 60) g;
alter table notes enable row level security; alter table notes force row level security;
create policy own on notes using (owner = current_user) with check (owner = current_user);
create function mark() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger mark before update of at on notes for each row when (old.at is distinct from new.at) execute function mark();
create constraint trigger late after insert on notes deferrable initially deferred for each row execute function mark();
alter table notes enable always trigger mark;
grant select, update (at) on notes to pg_monitor; grant all on notes to public; revoke delete on notes from public;
create view mine as select id, at from notes where owner = current_user with check option;
"""
SEEN_WRITES = (
    "insert into notes (at) values (date '2026-09-01' + {n} % 60); update notes set at = at + 1 where id = 1 + {n} % 30"
)

TEAMS = """
create table teams (id int primary key, since date not null, name text);
insert into teams select g, date '2025-06-01' + g, 'team ' || g from generate_series(1, 120) g;
create table players (id int primary key, team int constraint in_team references teams on delete set null on update cascade, since date);
create index on players (team, since);
insert into players select g, t.id, t.since from generate_series(1, 200) g left join teams t on t.id = g % 150;
comment on constraint in_team on players is 'it''s one %s :x';
"""
TEAM_WRITES = """
insert into teams values (1000 + {n}, '2026-03-01', 'x'); insert into players values (1000 + {n}, 1000 + {n}, '2026-03-01');
update teams set name = name || '!' where id = {n} % 100; delete from players where id = 1000 + {n} - 4;
update players set team = 7, since = (select since from teams where id = 7) where id = {n} % 200
"""
TEAM = PartitionTable(
    "teams", Monthly("since"), widen_keys=True, incoming="widen", incoming_columns={"in_team": "since"}, premake=1
)

LONG_OTHER = "p" * 63
ODD = f"""
create schema "S: %s"; create schema "Oth'er";
create table "S: %s"."A""cc %" (zone uuid, "Id: %" int, "at ?" timestamptz not null, primary key (zone, "Id: %"));
insert into "S: %s"."A""cc %" select md5((g % 3)::text)::uuid, g, timestamptz '2026-04-01 00:00+02' + g * interval '7 hours' from generate_series(1, 90) g;
create table "Oth'er".{LONG_OTHER} (n int primary key, "re(f)" int, "zo,ne" uuid, "(at) %s" timestamptz,
    constraint "{LONG_OTHER[1:]}" foreign key ("zo,ne", "re(f)") references "S: %s"."A""cc %" match full on delete cascade deferrable initially deferred);
insert into "Oth'er".{LONG_OTHER} select "Id: %", "Id: %", zone, "at ?" from "S: %s"."A""cc %";
insert into "Oth'er".{LONG_OTHER} values (-1);
create table "Oth'er".second (zone uuid not null, id int not null, at timestamptz not null, constraint "it: refers" foreign key (zone, id) references "S: %s"."A""cc %");
insert into "Oth'er".second select zone, "Id: %", "at ?" from "S: %s"."A""cc %" where "Id: %" < 20;
"""
ODD_WRITES = f"""
insert into "S: %s"."A""cc %" values (md5('1')::uuid, 1000 + {{n}}, '2026-04-20 00:00+00');
insert into "Oth'er".{LONG_OTHER} values (1000 + {{n}}, 1000 + {{n}}, md5('1')::uuid, '2026-04-20 00:00+00');
delete from "S: %s"."A""cc %" where "Id: %" = 1000 + {{n}} - 3
"""
ODD_BY = {LONG_OTHER[1:]: "(at) %s", "Oth'er.second": "at"}

BORN = """
create table family (id int primary key, born date not null, parent int, parents_birth date,
    constraint "its pare:nt" foreign key (parent) references family on delete set null on update cascade deferrable);
insert into family select g, date '2026-01-01' + g, nullif(g / 2, 0), date '2026-01-01' + nullif(g / 2, 0) from generate_series(1, 60) g;
comment on constraint "its pare:nt" on family is 'a tree';
"""
BORN_WRITES = """
insert into family values (100 + {n}, '2026-02-02', 1 + {n} % 40, date '2026-01-01' + 1 + {n} % 40);
update family set parent = 1 + {n} % 20, parents_birth = date '2026-01-01' + 1 + {n} % 20 where id = 21 + {n} % 20;
delete from family where id = 100 + {n} - 3
"""
TREE = {"family": "parents_birth"}

# what refers to the partitions' column already needs no other
LINES = """
create table bills (id int, day date, note text, primary key (id, day)); insert into bills select g, date '2026-05-01' + g, 'n' from generate_series(1, 60) g;
create table lines (bill int, day date, n int, constraint of_bill foreign key (bill, day) references bills (id, day) on update cascade on delete cascade);
insert into lines select id, day, 1 from bills;
"""
LINES_WRITES = """
insert into bills values (1000 + {n}, '2026-05-05'); insert into lines values (1000 + {n}, '2026-05-05', 2);
update bills set day = day + 1 where id = {n} % 60; delete from bills where id = 1000 + {n} - 2
"""

SALES = """
create table sales (id int primary key, at date not null, shop text not null, amount numeric);
insert into sales select g, date '2026-05-01' + g % 120, 'shop ' || g % 5, g from generate_series(1, 300) g;
"""
SALES_WRITES = """
insert into sales values (1000 + {n}, '2026-07-07', 'shop new', 1); update sales set amount = amount + 1, at = at + 31 where id = {n};
delete from sales where id = 1000 + {n} - 3
"""

VIEW = "v" * 63
# a view on views, on a view, on the table; one that is read with the table; one that is not filled; one of another schema
UNDER_VIEWS = f"""
create schema "S: %s"; create schema other; create table shops (name text primary key);
insert into shops select 'shop ' || g from generate_series(0, 4) g;
create table "S: %s"."Sa'les %" ("Id: %" int, at timestamptz not null, shop text, "am:ount" numeric, primary key ("Id: %", at));
insert into "S: %s"."Sa'les %" select g, timestamptz '2026-05-01 00:00+00' + g * interval '7 hours', 'shop ' || g % 5, g
    from generate_series(1, 300) g;
create materialized view "S: %s"."By: %" with (fillfactor = 70) as
    select shop, sum("am:ount") as "am:ount", count(*) filter (where shop ~ ':x%') as n from "S: %s"."Sa'les %" s group by shop;
create unique index "u: %" on "S: %s"."By: %" (shop);
create index on "S: %s"."By: %" ("am:ount" desc) where n > 0;
alter materialized view "S: %s"."By: %" cluster on "u: %";
alter materialized view "S: %s"."By: %" alter column n set statistics 77;
create statistics other.st (dependencies) on shop, n from "S: %s"."By: %";
comment on materialized view "S: %s"."By: %" is 'it''s %s :x';
comment on column "S: %s"."By: %".n is 'number';
grant select on "S: %s"."By: %" to pg_monitor with grant option; grant select (shop) on "S: %s"."By: %" to public;
create view "S: %s".plain as select * from "S: %s"."By: %" b join shops on name = shop where exists (select from "S: %s"."Sa'les %" s where s.shop = b.shop);
create materialized view other.{VIEW} as select p.shop, b.n, "Id: %" from "S: %s".plain p join "S: %s"."By: %" b using (shop)
    join "S: %s"."Sa'les %" using (shop);
create materialized view other.empty as select * from other.{VIEW} with no data;
create index empty_index on other.empty (n);
create materialized view other.far as select count(*) from "S: %s".plain;
create view other."on: top" as select * from other.{VIEW};
create materialized view other.aside as select 1 as one;
"""
UNDER_VIEWS_WRITES = """
insert into "S: %s"."Sa'les %" values (1000 + {n}, '2026-07-07 00:00+00', 'shop 1', 1);
update "S: %s"."Sa'les %" set "am:ount" = {n}, at = at + interval '20 days' where "Id: %" = {n};
delete from "S: %s"."Sa'les %" where "Id: %" = 1000 + {n} - 3
"""
PER_SHOP = "create materialized view per_shop as select shop, sum(amount) from sales group by shop; create unique index on per_shop (shop);"
WATCHED = CreateMaterializedView(
    "per_day",
    "select at, count(*) as n from sales group by at",
    unique=["at"],
    depends_on=["sales"],
    refresh="every 5 minutes",
)
TINY = """
create table tiny (id int primary key); insert into tiny select generate_series(1, 30);
create materialized view evens as select id from tiny where id % 2 = 0; create index on evens (id);
create materialized view many as select count(*) from evens;
"""
TINY_WRITES = "insert into tiny values ({n} + 100); delete from tiny where id = {n} + 97"

PUBLISHED = """
create schema p; create table p."Sa:les %" (id int, at date not null, shop text, amount numeric, primary key (id, at));
insert into p."Sa:les %" select g, date '2026-05-01' + g % 120, 'shop ' || g % 5, g from generate_series(1, 200) g;
set client_min_messages = error;
create publication "p: %" for table p."Sa:les %" (id, at, shop) where (id > 0 and at <> '2020-01-01') with (publish_via_partition_root = true);
create publication other for table p."Sa:les %" with (publish_via_partition_root = true, publish = 'insert');
"""
PUBLISHED_WRITES = """
insert into p."Sa:les %" values (1000 + {n}, '2026-07-07', 'shop new', 1);
update p."Sa:les %" set amount = amount + 1, at = at + 31 where id = {n};
delete from p."Sa:les %" where id = 1000 + {n} - 3
"""

EXAMPLES = [
    Example(
        "partition by month",
        LOGS,
        PartitionTable("logs", Monthly("created_at")),
        before=INSTALLED,
        writes=LOG_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table with everything",
        RICH,
        PartitionTable("Logs", Monthly("createdAt"), widen_keys=True, schema="S x"),
        before=INSTALLED,
        writes=RICH_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by day",
        SMALL,
        PartitionTable("small", Daily("at"), premake=2, widen_keys=True),
        before=INSTALLED,
        writes=SMALL_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by week",
        SMALL,
        PartitionTable("small", Weekly("at", starts_on="sunday"), widen_keys=True, default=True),
        before=INSTALLED,
        writes=SMALL_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by quarter, in a time zone",
        LOGS,
        PartitionTable("logs", Quarterly("created_at", timezone="America/New_York")),
        before=INSTALLED,
        writes=LOG_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by year, with a start",
        LOGS + "insert into logs (action, created_at) values ('of old', '1066-10-14 00:00:00+00')",
        PartitionTable("logs", Yearly("created_at"), start="2026-01-01"),
        before=INSTALLED,
        writes=LOG_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by milliseconds",
        EVENTS,
        PartitionTable("events", Monthly("at", epoch="ms"), widen_keys=True),
        before=INSTALLED,
        writes=EVENT_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by ranges of a number",
        ORDERS,
        PartitionTable("orders", IntRange("id", step=200), widen_keys=True, default=True),
        before=INSTALLED,
        writes=ORDER_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by list",
        ORDERS,
        PartitionTable("orders", ListOf("region", {"eu": ["DE", "FR"], "us": ["US"]})),
        before=INSTALLED,
        writes=ORDER_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by hash",
        "create table tiny (id int primary key); insert into tiny select generate_series(1, 30)",
        PartitionTable("tiny", Hash("id", 2)),
        before=INSTALLED,
        writes="insert into tiny values ({n} + 100); delete from tiny where id = {n} + 97",
        scriptable=False,
    ),
    Example(
        "partition a table that others refer to",
        REFERRED,
        PartitionTable("teams", Monthly("since"), widen_keys=True, incoming="drop"),
        before=INSTALLED,
        writes="insert into teams values (1000 + {n}, '2026-03-01', 'x'); insert into players values (1000 + {n}, 1000 + {n})",
        scriptable=False,
    ),
    Example(
        "partition an empty table",
        "create table empty (id int primary key, at timestamptz not null)",
        PartitionTable("empty", Monthly("at"), premake=1, widen_keys=True),
        before=INSTALLED,
        scriptable=False,
    ),
    Example(
        "unpartition what is kept up",
        "create table tiny (id int primary key); insert into tiny select generate_series(1, 30)",
        UnpartitionTable("tiny", Hash("id", 2)),
        before=(*INSTALLED, PartitionTable("tiny", Hash("id", 2))),
        writes="insert into tiny values ({n} + 100); delete from tiny where id = {n} + 97",
        scriptable=False,
        named=True,
    ),
    Example(
        "unpartition what is final",
        "create table tiny (id int primary key); insert into tiny select generate_series(1, 30)",
        UnpartitionTable("tiny", Hash("id", 2)),
        before=(*INSTALLED, PartitionTable("tiny", Hash("id", 2)), FinalizePartitioning("tiny")),
        back=(PartitionTable("tiny", Hash("id", 2)), FinalizePartitioning("tiny")),
        writes="insert into tiny values ({n} + 100); delete from tiny where id = {n} + 97",
        scriptable=False,
    ),
    Example(
        "finalize",
        SMALL,
        FinalizePartitioning("small"),
        before=(*INSTALLED, PartitionTable("small", Monthly("at"), widen_keys=True)),
        back=(UnpartitionTable("small"), PartitionTable("small", Monthly("at"), widen_keys=True)),
        writes=SMALL_WRITES,
        scriptable=False,
    ),
    Example(
        "attach by month",
        LOGS,
        PartitionTable("logs", Monthly("created_at"), method="attach"),
        before=INSTALLED,
        writes=LOG_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table with everything",
        RICH,
        PartitionTable("Logs", Monthly("createdAt"), method="attach", widen_keys=True, schema="S x"),
        before=INSTALLED,
        writes=RICH_WRITES,
        scriptable=False,
    ),
    Example(
        "attach by numbers, with a default",
        ORDERS,
        PartitionTable("orders", IntRange("id", step=500_000), method="attach", default=True),
        before=INSTALLED,
        writes=ORDER_WRITES,
        scriptable=False,
    ),
    Example(
        "attach by list",
        ORDERS,
        PartitionTable("orders", ListOf("region", {"old": ["DE", "FR", "US"], "new": ["IT"]}), method="attach"),
        before=INSTALLED,
        writes=ORDER_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table that others refer to",
        REFERRED,
        PartitionTable("teams", Yearly("since"), method="attach", widen_keys=True, incoming="drop", default=True),
        before=INSTALLED,
        writes="insert into teams values (1000 + {n}, '2026-03-01', 'x'); insert into players values (1000 + {n}, 1000 + {n})",
        scriptable=False,
    ),
    Example(
        "partition by UUIDs of version 7",
        KEYED,
        PartitionTable("keyed", Monthly("id")),
        before=INSTALLED,
        writes=KEYED_WRITES,
        scriptable=False,
    ),
    Example(
        "attach by UUIDs of version 7",
        KEYED,
        PartitionTable("keyed", Quarterly("id", timezone="Asia/Kolkata"), method="attach", premake=2),
        before=INSTALLED,
        writes=KEYED_WRITES,
        scriptable=False,
    ),
    Example(
        "attach by seconds",
        "create table ticks (at bigint not null, n int, primary key (at, n)); insert into ticks select 1775000000 + g, g from generate_series(1, 50) g",
        PartitionTable("ticks", Weekly("at", epoch="s"), method="attach"),
        before=INSTALLED,
        writes="insert into ticks values (1785000000 + {n}, {n}); update ticks set n = n + 1000 where n = {n}",
        scriptable=False,
    ),
    Example(
        "partition numbers before and after all bounds",
        FEW,
        PartitionTable("few", IntRange("id", step=10), start="0", premake=1, default=True),
        before=INSTALLED,
        writes=FEW_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table that refers to itself",
        FAMILY,
        PartitionTable("family", Hash("id", 2), incoming="drop"),
        before=INSTALLED,
        writes=FAMILY_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table that refers to itself",
        FAMILY,
        PartitionTable("family", IntRange("id", step=100_000), method="attach", incoming="drop", default=True),
        before=INSTALLED,
        writes=FAMILY_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table of long names",
        LONG_NAMES,
        PartitionTable(LONG, Daily("at"), premake=1),
        before=INSTALLED,
        writes=LONG_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table of long names",
        LONG_NAMES,
        PartitionTable(LONG, Monthly("at"), method="attach"),
        before=INSTALLED,
        writes=LONG_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table of strange names by list, with a default",
        STRANGE,
        PartitionTable(
            "O'r\"ders %", ListOf("re:gion", {"e:u %": ["D:E", "it's"], "u s": ['U"S']}), default=True, schema="S: %s"
        ),
        before=INSTALLED,
        writes=STRANGE_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table of strange names",
        STRANGE,
        PartitionTable("O'r\"ders %", IntRange("Id: %", step=10_000), method="attach", schema="S: %s", default=True),
        before=INSTALLED,
        writes=STRANGE_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table that refers to another",
        REFERRING,
        PartitionTable("sales", Quarterly("at"), widen_keys=True, incoming="drop"),
        before=INSTALLED,
        writes=REFERRING_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table that refers to another",
        REFERRING,
        PartitionTable("sales", Yearly("at"), method="attach", widen_keys=True, incoming="drop"),
        before=INSTALLED,
        writes=REFERRING_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table with forced policies, triggers and a view",
        SEEN_BY_ALL,
        PartitionTable("notes", Monthly("at"), widen_keys=True, premake=1),
        before=INSTALLED,
        writes=SEEN_WRITES,
        scriptable=False,
    ),
    Example(
        "attach an empty table",
        "create table empty (id int primary key, at timestamptz not null)",
        PartitionTable("empty", Daily("at", timezone="Pacific/Auckland"), method="attach", widen_keys=True, premake=1),
        before=INSTALLED,
        writes="insert into empty values ({n}, now())",
        scriptable=False,
    ),
    Example(
        "partition a table and widen what refers to it",
        TEAMS,
        TEAM,
        before=INSTALLED,
        writes=TEAM_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table and widen what refers to it",
        TEAMS,
        PartitionTable(
            "teams",
            IntRange("id", step=100_000),
            method="attach",
            incoming="widen",
            default=True,
        ),
        before=INSTALLED,
        writes=TEAM_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table of strange names and widen two keys",
        ODD,
        PartitionTable(
            'A"cc %',
            Quarterly("at ?", timezone="Asia/Kolkata"),
            widen_keys=True,
            incoming="widen",
            incoming_columns=ODD_BY,
            schema="S: %s",
        ),
        before=INSTALLED,
        writes=ODD_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table of strange names and widen two keys",
        ODD,
        PartitionTable(
            'A"cc %',
            Monthly("at ?"),
            method="attach",
            widen_keys=True,
            incoming="widen",
            incoming_columns=ODD_BY,
            schema="S: %s",
        ),
        before=INSTALLED,
        writes=ODD_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table and widen what refers to itself",
        BORN,
        PartitionTable("family", Monthly("born"), widen_keys=True, incoming="widen", incoming_columns=TREE, premake=1),
        before=INSTALLED,
        writes=BORN_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "attach a table and widen what refers to itself",
        BORN,
        PartitionTable(
            "family", Daily("born"), method="attach", widen_keys=True, incoming="widen", incoming_columns=TREE
        ),
        before=INSTALLED,
        writes=BORN_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table and keep what refers to its column",
        LINES,
        PartitionTable("bills", Monthly("day"), incoming="widen", premake=1),
        before=INSTALLED,
        writes=LINES_WRITES,
        scriptable=False,
    ),
    Example(
        "partition by hash and keep what refers to it and to itself",
        BORN
        + "create table pets (owner int references family on delete cascade); insert into pets select g from generate_series(1, 30) g",
        PartitionTable("family", Hash("id", 2), incoming="widen"),
        before=INSTALLED,
        writes=BORN_WRITES + "; insert into pets values (1 + {n} % 30)",
        scriptable=False,
    ),
    Example(
        "unpartition what widened keys refer to, when it is final",
        TEAMS,
        UnpartitionTable("teams", Monthly("since")),
        before=(*INSTALLED, TEAM, FinalizePartitioning("teams")),
        back=(TEAM, FinalizePartitioning("teams")),
        writes=TEAM_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table under materialized views",
        UNDER_VIEWS,
        PartitionTable("Sa'les %", Monthly("at"), premake=1, schema="S: %s"),
        before=INSTALLED,
        writes=UNDER_VIEWS_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table under materialized views",
        UNDER_VIEWS,
        PartitionTable("Sa'les %", Monthly("at"), method="attach", premake=1, schema="S: %s"),
        before=INSTALLED,
        writes=UNDER_VIEWS_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table whose changes are noted for a materialized view",
        SALES + PER_SHOP,
        PartitionTable("sales", Monthly("at"), premake=1, widen_keys=True),
        before=(*INSTALLED, WATCHED),
        writes=SALES_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table whose changes are noted for a materialized view",
        SALES + PER_SHOP,
        PartitionTable("sales", Monthly("at"), method="attach", premake=1, widen_keys=True),
        before=(*INSTALLED, WATCHED),
        writes=SALES_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a list under a materialized view",
        SALES + PER_SHOP,
        PartitionTable(
            "sales",
            ListOf("shop", {"old": [f"shop {n}" for n in range(5)], "new": ["shop new"]}),
            method="attach",
            widen_keys=True,
        ),
        before=INSTALLED,
        writes=SALES_WRITES.replace("shop new", "shop 1"),
        scriptable=False,
    ),
    Example(
        "unpartition what is final under materialized views",
        TINY,
        UnpartitionTable("tiny", Hash("id", 2)),
        before=(*INSTALLED, PartitionTable("tiny", Hash("id", 2)), FinalizePartitioning("tiny")),
        back=(PartitionTable("tiny", Hash("id", 2)), FinalizePartitioning("tiny")),
        writes=TINY_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "unpartition what was attached under materialized views",
        TINY,
        UnpartitionTable("tiny", IntRange("id", step=100_000), method="attach", default=True),
        before=(*INSTALLED, PartitionTable("tiny", IntRange("id", step=100_000), method="attach", default=True)),
        writes=TINY_WRITES,
        scriptable=False,
    ),
    Example(
        "partition a table that is published",
        PUBLISHED,
        PartitionTable("Sa:les %", Monthly("at"), premake=1, publish="root", schema="p"),
        before=INSTALLED,
        writes=PUBLISHED_WRITES,
        scriptable=False,
    ),
    Example(
        "attach a table that is published, alone and with its schema",
        PUBLISHED + "create publication schemas for tables in schema p with (publish_via_partition_root = true);",
        PartitionTable("Sa:les %", Monthly("at"), method="attach", premake=1, publish="root", schema="p"),
        before=INSTALLED,
        writes=PUBLISHED_WRITES,
        scriptable=False,
    ),
]
