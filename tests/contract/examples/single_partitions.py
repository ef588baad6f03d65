"""Single partitions that come and go, are split and merged."""

from __future__ import annotations

from pgopt import IntRange, Monthly, Yearly
from pgopt.operations import (
    AttachPartition,
    DetachPartition,
    InstallPgopt,
    MergePartitions,
    PartitionTable,
    SplitPartition,
)
from tests.contract.examples.base import Example

LOGS = """
create table people (id int primary key);
insert into people select generate_series(0, 9);
create table logs (id int not null, at timestamptz not null, author int not null, note text default 'x',
    constraint logs_pkey primary key (id, at), constraint small check (id < 1000000),
    constraint logs_author foreign key (author) references people) partition by range (at);
create index logs_at on logs (at desc) where note is not null;
create table logs_new partition of logs for values from ('2026-01-01 00:00+00') to ('2027-01-01 00:00+00');
insert into logs select g, '2026-06-01 00:00+00', g % 10 from generate_series(1, 50) g;
"""
OLD = """
create table logs_old (note text default 'old', author int not null, id int not null, at timestamptz not null,
    constraint "the old key" primary key (id, at), constraint small check (id < 1000000),
    constraint old_author foreign key (author) references people);
create index on logs_old (at desc) where note is not null;
comment on table logs_old is 'of 2025';
insert into logs_old select 'n', g % 10, g, '2025-06-01 00:00+00' from generate_series(1, 50) g;
"""
LOGS_WRITES = """
insert into logs values (1000 + {n}, '2026-07-01 00:00+00', {n} % 10);
update logs set note = 'n{n}' where id = {n} % 50 and at > '2026-01-01 00:00+00'
"""
OF_2025 = {"lower": "2025-01-01 00:00+00", "upper": "2026-01-01 00:00+00"}
ATTACHED = f"{LOGS}{OLD} alter table logs attach partition logs_old for values from ('2025-01-01 00:00+00') to ('2026-01-01 00:00+00');"

LISTED = """
create schema "S x"; create schema "Old";
create table numbers (n int primary key); insert into numbers select generate_series(0, 1000);
create table "S x"."Lo'gs %s" ("re:gion" text not null, n int not null references numbers, primary key ("re:gion", n))
    partition by list ("re:gion");
create table "S x"."Eu" partition of "S x"."Lo'gs %s" for values in ('DE', 'it''s');
create table "S x"."Others" partition of "S x"."Lo'gs %s" default;
create table "Old"."US" (like "S x"."Lo'gs %s" including indexes, foreign key (n) references numbers);
insert into "Old"."US" select 'US', g from generate_series(1, 20) g;
"""
LONG = "p" * 63

INSTALLED = (InstallPgopt(1),)

TINY = """
create table tiny (id int primary key, n int) partition by range (id);
create table tiny_old partition of tiny for values from (0) to (30);
create table tiny_new partition of tiny for values from (30) to (1000000);
insert into tiny select g from generate_series(0, 59) g;
"""
TINY_WRITES = """
insert into tiny values (100 + {n}, {n}); insert into tiny_old values ({n} % 30, {n}) on conflict do nothing;
update tiny set n = {n} where id = {n} % 30; delete from tiny where id = ({n} + 3) % 30
"""
THREE = {"at": [10, 20], "into": ["tiny_0", "tiny_10", "tiny_20"]}

FULL = """
create table tiny (id int primary key, n int) partition by range (id);
create table tiny_0 partition of tiny for values from (0) to (10);
create table tiny_15 partition of tiny for values from (15) to (20);
create table tiny_rest partition of tiny default;
insert into tiny select g from generate_series(0, 32) g; insert into tiny values (-5);
"""
FULL_WRITES = """
insert into tiny values (100 + {n}, {n}); update tiny set n = {n} where id = {n} % 33;
update tiny set id = case when {n} % 2 = 0 then 27 else 26 end where id between 26 and 27 and not exists (select from tiny where id = 26 + ({n} + 1) % 2);
delete from tiny where id = 100 + {n} - 3
"""

# a first partition after an attachment, with all that people hang on a table
RICH = """
create schema "S x"; create schema "Old";
create table "S x"."Lo'gs %s" (
    "Id" bigint not null, "re:gion" text not null default 'DE', "At" timestamptz not null, note text collate "C" constraint said check (note <> ''),
    size int generated always as (length(note)) stored, number serial, constraint "The key" primary key ("re:gion", "At", "Id")
) partition by range ("At");
create index "by note" on "S x"."Lo'gs %s" (lower(note), "At" desc) include ("Id") where note is not null;
create unique index "once" on "S x"."Lo'gs %s" ("At", "Id");
create table "Old"."Fir:st %s" (note text collate "C" constraint said check (note <> ''), gone int, "At" timestamptz not null, "Id" bigint not null,
    "re:gion" text not null default 'DE', size int generated always as (length(note)) stored,
    number int not null default nextval('"S x"."Lo''gs %s_number_seq"'));
alter table "Old"."Fir:st %s" drop column gone;
alter table "S x"."Lo'gs %s" attach partition "Old"."Fir:st %s" for values from (minvalue) to ('2026-06-01 00:00+02');
create table "S x"."Others" partition of "S x"."Lo'gs %s" default;
create table "S x"."La:st" partition of "S x"."Lo'gs %s" for values from ('2026-06-01 00:00+02') to (maxvalue);
insert into "S x"."Lo'gs %s" ("Id", "At", note) select g, timestamptz '2026-01-15 00:00+00' + g * interval '11 hours', 'n' || g
    from generate_series(1, 400) g;
create function set_note() returns trigger language plpgsql as $$ begin new.note := coalesce(new.note, 'none'); return new; end $$;
create trigger "fill note" before insert on "S x"."Lo'gs %s" for each row execute function set_note();
create trigger note_all after insert on "S x"."Lo'gs %s" for each statement execute function suppress_redundant_updates_trigger();
alter table "S x"."Lo'gs %s" disable trigger note_all;
alter table "Old"."Fir:st %s" alter note set statistics 300, replica identity full;
alter table "Old"."Fir:st %s" set (fillfactor = 70, toast.autovacuum_enabled = false);
alter index "Old"."Fir:st %s_pkey" set (fillfactor = 66);
comment on table "Old"."Fir:st %s" is 'of o%ld'; comment on column "Old"."Fir:st %s".note is 'what';
comment on index "Old"."Fir:st %s_pkey" is 'its key';
grant select on "Old"."Fir:st %s" to pg_monitor with grant option; grant insert (note) on "Old"."Fir:st %s" to public;
alter table "Old"."Fir:st %s" enable row level security;
create statistics "Old".st on "Id", note from "Old"."Fir:st %s";
create view recent as select * from "S x"."Lo'gs %s" where "At" > '2026-05-01';
"""
RICH_WRITES = """
insert into "S x"."Lo'gs %s" ("Id", "At") values (1000 + {n}, '2026-04-01 00:00+00');
insert into "Old"."Fir:st %s" ("Id", "At", "re:gion", note) values (1000 + {n}, '2026-03-02 00:00+00', 'FR', 'direct');
update "S x"."Lo'gs %s" set note = note || '!', "At" = "At" + interval '20 days' where "Id" = {n} % 400;
delete from "S x"."Lo'gs %s" where "Id" = 1000 + {n} - 3;
"""
RICH_WRITES_THROUGH_THE_TABLE = RICH_WRITES.replace('"Old"."Fir:st %s"', """"S x"."Lo'gs %s\"""")

# foreign keys of it, to it, and both
REFERRED = """
create schema "S: %"; create table "S: %"."Peo'ple" ("Id: %" int primary key); insert into "S: %"."Peo'ple" select generate_series(0, 20);
create table "S: %".posts (id int, at date, author int constraint "of: %" references "S: %"."Peo'ple" on delete cascade deferrable initially deferred,
    reply_to int, replied_at date, primary key (id, at),
    constraint again foreign key (reply_to, replied_at) references "S: %".posts on delete set null) partition by range (at);
create table "S: %"."po:sts old" partition of "S: %".posts for values from (minvalue) to ('2026-03-01');
create table "S: %".posts_new partition of "S: %".posts for values from ('2026-03-01') to ('2026-06-01');
create table "S: %".posts_rest partition of "S: %".posts default;
create table likes (post int, at date, constraint "it: %" foreign key (post, at) references "S: %".posts match full on update cascade on delete cascade);
create index on likes (post, at);
comment on constraint "of: %" on "S: %".posts is 'who'; comment on constraint "it: %" on likes is 'wh%at';
insert into "S: %".posts select g, date '2026-01-01' + g, g % 20 from generate_series(1, 170) g;
update "S: %".posts set (reply_to, replied_at) = (id / 2, date '2026-01-01' + id / 2) where id > 1;
insert into likes select id, at from "S: %".posts where id % 3 > 0; insert into likes values (null, null);
"""
REFERRED_WRITES = """
insert into "S: %".posts values (1000 + {n}, '2026-01-05', 3, 20, '2026-01-21'); insert into likes values (1000 + {n}, '2026-01-05');
insert into "S: %"."Peo'ple" values (1000 + {n}); insert into "S: %".posts values (5000 + {n}, '2026-02-05', 1000 + {n});
update "S: %".posts set at = at + 1 where id = 1000 + {n} - 1 and at < '2026-12-01';
delete from "S: %".posts where id = 1000 + {n} - 3;
begin; delete from "S: %".posts where id = 5000 + {n} - 1; delete from "S: %"."Peo'ple" where "Id: %" = 1000 + {n} - 1; commit;
delete from "S: %"."Peo'ple" where "Id: %" = 1000 + {n} - 2
"""
CUT = {"at": ["2026-02-01"], "into": ["po sts", "po:sts 2"], "schema": "S: %"}

TALL = "t" * 63
UUIDS = f"""
create table {TALL} (id uuid not null, primary key (id)) partition by range (id);
create table {TALL[1:]} partition of {TALL} for values from (minvalue) to (maxvalue);
insert into {TALL} select (lpad(to_hex(1767225600000 + g * 86400000::bigint), 12, '0') || '70008000000000000000')::uuid
    from generate_series(0, 200, 5) g;
"""
UUID_WRITES = (
    f"insert into {TALL} values ((lpad(to_hex(1777225600000 + {{n}}), 12, '0') || '70008000000000000000')::uuid)"
)

EXAMPLES = [
    Example(
        "attach a partition",
        LOGS + OLD,
        AttachPartition("logs", "logs_old", **OF_2025),  # type: ignore[arg-type]
        writes=LOGS_WRITES,
        scriptable=False,
        moves=True,
        named=True,
    ),
    Example(
        "attach a partition to a list with a default",
        LISTED,
        AttachPartition("Lo'gs %s", "US", values=["US", "C\"A'"], schema="S x", partition_schema="Old"),
        writes="""
            insert into numbers values ({n}) on conflict do nothing;
            insert into "S x"."Lo'gs %s" values (case {n} % 2 when 0 then 'DE' else 'FR' end, {n})
        """,
        scriptable=False,
        moves=True,
    ),
    Example(
        "attach the first partition, with open ends",
        f"create table t (id int) partition by range (id); create table {LONG} (id int not null); insert into {LONG} values (-5)",
        AttachPartition("t", LONG, upper=0),
        scriptable=False,
        moves=True,
    ),
    Example(
        "detach a partition",
        ATTACHED,
        DetachPartition("logs", "logs_old", **OF_2025),  # type: ignore[arg-type]
        writes=LOGS_WRITES,
        scriptable=False,
        moves=True,
        named=True,
    ),
    Example(
        "detach a partition beside a default",
        LISTED + """alter table "S x"."Lo'gs %s" attach partition "Old"."US" for values in ('US');""",
        DetachPartition("Lo'gs %s", "US", values=["US"], schema="S x", partition_schema="Old"),
        writes="""insert into numbers values ({n}) on conflict do nothing; insert into "S x"."Lo'gs %s" values ('DE', {n})""",
        scriptable=False,
        moves=True,
    ),
    Example(
        "split a partition",
        TINY,
        SplitPartition("tiny", "tiny_old", **THREE),  # type: ignore[arg-type]
        before=INSTALLED,
        writes=TINY_WRITES.replace("tiny_old", "tiny"),
        scriptable=False,
    ),
    Example(
        "merge partitions",
        TINY,
        MergePartitions("tiny", "tiny_old", **THREE),  # type: ignore[arg-type]
        before=(*INSTALLED, SplitPartition("tiny", "tiny_old", **THREE)),  # type: ignore[arg-type]
        writes=TINY_WRITES.replace("tiny_old", "tiny"),
        scriptable=False,
    ),
    Example(
        "split a default",
        FULL,
        SplitPartition("tiny", "tiny_rest", by=IntRange("id", step=10)),
        before=INSTALLED,
        writes=FULL_WRITES,
        scriptable=False,
    ),
    Example(
        "split a default between two ends",
        FULL,
        SplitPartition("tiny", "tiny_rest", at=[20, 30], into=["tiny_20"]),
        before=INSTALLED,
        writes=FULL_WRITES,
        scriptable=False,
    ),
    Example(
        "split a partition beside a filled default",
        FULL,
        SplitPartition("tiny", "tiny_0", at=[5], into=["tiny 0 %", "tiny:5"]),
        before=INSTALLED,
        writes=FULL_WRITES,
        scriptable=False,
    ),
    Example(
        "split a partition with everything",
        RICH,
        SplitPartition(
            "Lo'gs %s", "Fir:st %s", by=Monthly("At", timezone="Europe/Berlin"), schema="S x", partition_schema="Old"
        ),
        before=INSTALLED,
        writes=RICH_WRITES_THROUGH_THE_TABLE,
        scriptable=False,
    ),
    Example(
        "merge a partition with everything",
        RICH,
        MergePartitions("Lo'gs %s", "Fir:st %s", by=Yearly("At"), schema="S x", partition_schema="Old"),
        before=(
            *INSTALLED,
            SplitPartition("Lo'gs %s", "Fir:st %s", by=Yearly("At"), schema="S x", partition_schema="Old"),
        ),
        writes=RICH_WRITES_THROUGH_THE_TABLE,
        scriptable=False,
    ),
    Example(
        "split a partition of a table with foreign keys",
        REFERRED,
        SplitPartition("posts", "po:sts old", **CUT),  # type: ignore[arg-type]
        before=INSTALLED,
        writes=REFERRED_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "merge partitions of a table with foreign keys",
        REFERRED,
        MergePartitions("posts", "po:sts old", **CUT),  # type: ignore[arg-type]
        before=(*INSTALLED, SplitPartition("posts", "po:sts old", **CUT)),  # type: ignore[arg-type]
        writes=REFERRED_WRITES,
        scriptable=False,
    ),
    Example(
        "split a default of a table with foreign keys",
        REFERRED + """insert into "S: %".posts values (7, '2026-08-01', 1), (8, '2026-08-20', 2)""",
        SplitPartition("posts", "posts_rest", by=Monthly("at"), schema="S: %"),
        before=INSTALLED,
        writes=REFERRED_WRITES,
        scriptable=False,
    ),
    Example(
        "split a partition of a long name, by UUIDs",
        UUIDS,
        SplitPartition(TALL, TALL[1:], by=Monthly("id"), start="019ca610-5400-7000-8000-000000000000"),
        before=INSTALLED,
        writes=UUID_WRITES,
        scriptable=False,
    ),
    Example(
        "split the first partition of an attached table",
        "create table few (id int primary key, n int); insert into few select g, g from generate_series(-20, 80) g",
        SplitPartition("few", "few_phistory", start="0"),
        before=(*INSTALLED, PartitionTable("few", IntRange("id", step=40), method="attach", default=True)),
        writes="insert into few values (100 + {n}); update few set id = -id where id = {n} % 20 and not exists (select from few where id = -{n} % 20)",
        scriptable=False,
    ),
]
