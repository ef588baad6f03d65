"""Single partitions that come and go."""

from __future__ import annotations

from pgopt.operations import AttachPartition, DetachPartition
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
        writes="""insert into "S x"."Lo'gs %s" values (case {n} % 2 when 0 then 'DE' else 'FR' end, {n})""",
        scriptable=False,
        moves=True,
        named=True,
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
        writes="""insert into "S x"."Lo'gs %s" values ('DE', {n})""",
        scriptable=False,
        moves=True,
    ),
]
