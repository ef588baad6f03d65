"""How long rows are kept, and where they go then."""

from __future__ import annotations

from pgopt import Hash, IntRange, Monthly, Yearly
from pgopt.operations import (
    AlterRetentionPolicy,
    CreateArchiveTable,
    CreateRetentionPolicy,
    DropArchiveTable,
    DropRetentionPolicy,
    InstallPgopt,
    PartitionTable,
    ResetRetentionPolicy,
)
from tests.contract.examples.base import Example

LOGS = """
create table logs (id int primary key, at timestamptz not null, what text);
create index on logs (at);
insert into logs select g, now() - g * interval '1 hour', 'w' || g from generate_series(1, 300) g;
"""
LOG_WRITES = "insert into logs values ({n} + 1000, now(), 'new'); update logs set what = 'x' where id = {n} % 300"
STRANGE = """
create schema "S x"; create schema "Old ""A"" %s"; create type "S x".state as enum ('open', 'done');
create table "S x"."Lo'gs :a" (
    "Id %" uuid, "Of" int, "At :t" timestamp not null, "S" "S x".state, length int generated always as ("Of" * 2) stored,
    primary key ("Id %", "Of")
);
insert into "S x"."Lo'gs :a" select gen_random_uuid(), g, now() - g * interval '1 day', 'done' from generate_series(1, 20) g;
create table "Old ""A"" %s"."Lo'gs" ("Id %" uuid, "Of" int, "At :t" timestamp, "S" "S x".state, length int);
"""
STRANGE_WRITES = """insert into "S x"."Lo'gs :a" values (gen_random_uuid(), {n} + 100, now(), 'open')"""
LONG, LONG_COLUMN = "t" * 63, "c" * 63
FAMILY = """
create table parents (id int primary key, day date not null); create index on parents (day);
create table children (id int primary key, parent int references parents on delete cascade, day date not null);
insert into parents select g, current_date - g from generate_series(1, 50) g;
insert into children select g, g, current_date - g from generate_series(1, 50) g;
"""
FAMILY_WRITES = "insert into parents values ({n} + 100, current_date); insert into children values ({n} + 100, {n} + 100, current_date)"
MONTHS = """
create table months (id int, at date not null, primary key (id, at));
insert into months select g, current_date - g from generate_series(1, 100) g;
"""
MONTH_WRITES = "insert into months values ({n} + 1000, current_date) on conflict do nothing"
INSTALLED = (InstallPgopt(1),)
WEEK = CreateRetentionPolicy("logs", column="at", keep="7 days")

POLICIES = [
    Example(
        "retention policy",
        LOGS,
        CreateRetentionPolicy("logs", column="at", keep="7 days", where="what <> '%s :x'", batch=100),
        before=INSTALLED,
        writes=LOG_WRITES,
        named=True,
    ),
    Example(
        "retention policy without a predicate",
        LOGS,
        WEEK,
        before=INSTALLED,
        writes=LOG_WRITES,
    ),
    Example(
        "retention policy that archives, of strange names in other schemas",
        STRANGE,
        CreateRetentionPolicy(
            "Lo'gs :a",
            column="At :t",
            keep="1 mon 2 days",
            where="\"S\" = 'done' -- %s :x",
            action="archive",
            archive_to="Lo'gs",
            archive_schema='Old "A" %s',
            timezone="Europe/Berlin",
            schema="S x",
        ),
        before=INSTALLED,
        writes=STRANGE_WRITES,
    ),
    Example(
        "retention policy with names of 63 bytes",
        f"create table {LONG} (id int primary key, {LONG_COLUMN} date)",
        CreateRetentionPolicy(LONG, column=LONG_COLUMN, keep="1 year"),
        before=INSTALLED,
        writes=f"insert into {LONG} values ({{n}}, current_date)",
    ),
    Example(
        "retention policy with a schedule",
        STRANGE,
        CreateRetentionPolicy("Lo'gs :a", column="At :t", keep="1 year", schedule="0 3 * * *", schema="S x"),
        before=INSTALLED,
        writes=STRANGE_WRITES,
    ),
    Example(
        "retention policy with a schedule dropped",
        LOGS,
        DropRetentionPolicy("logs", column="at", keep="7 days", schedule="every 6 hours", schema="public"),
        before=(
            *INSTALLED,
            CreateRetentionPolicy("logs", column="at", keep="7 days", schedule="every 6 hours", schema="public"),
        ),
        writes=LOG_WRITES,
    ),
    Example(
        "retention policy that cascades",
        FAMILY,
        CreateRetentionPolicy("parents", column="day", keep="3 months", cascade=True),
        before=INSTALLED,
        writes=FAMILY_WRITES,
    ),
    Example(
        "retention policy of whole partitions",
        MONTHS,
        CreateRetentionPolicy("months", column="at", keep="2 months", action="drop_partition", partly="delete"),
        before=(*INSTALLED, PartitionTable("months", Monthly("at"))),
        writes=MONTH_WRITES,
    ),
    Example(
        "retention policy of rows in partitions",
        MONTHS,
        CreateRetentionPolicy("months", column="at", keep="2 months", where="id % 2 = 0"),
        before=(*INSTALLED, PartitionTable("months", Monthly("at"))),
        writes=MONTH_WRITES,
    ),
    Example(
        "retention policy dropped",
        LOGS,
        DropRetentionPolicy("logs", column="at", keep="7 days"),
        before=(*INSTALLED, WEEK),
        writes=LOG_WRITES,
        named=True,
    ),
    Example(
        "retention policy altered",
        LOGS,
        AlterRetentionPolicy("logs", keep="1 month", where="what is not null", batch=10),
        before=(*INSTALLED, WEEK),
        writes=LOG_WRITES,
    ),
    Example(
        "retention policy altered to archive",
        LOGS + "create table logs_archive (like logs)",
        AlterRetentionPolicy("logs", action="archive", archive_to="logs_archive"),
        before=(*INSTALLED, WEEK),
        writes=LOG_WRITES,
    ),
    Example(
        "retention policy given back",
        LOGS,
        ResetRetentionPolicy("logs", keep="1 month"),
        before=(*INSTALLED, WEEK, AlterRetentionPolicy("logs", keep="1 month")),
        writes=LOG_WRITES,
    ),
]

KEPT = "create table referred (id int primary key); insert into referred values (1);"
LEDGER = (
    KEPT
    + """
create table ledger (
    id bigint generated always as identity, at timestamptz not null default now(), amount numeric(10, 2) not null check (amount > 0),
    twice numeric generated always as (amount * 2) stored, ref int references referred, note text, primary key (id, at)
);
create index on ledger (at);
insert into ledger (at, amount, ref) select now() - g * interval '1 day', g, 1 from generate_series(1, 50) g;
"""
)
LEDGER_WRITES = "insert into ledger (amount, ref, note) values ({n}, 1, '%s :x')"

ARCHIVES = [
    Example(
        "archive table",
        LEDGER,
        CreateArchiveTable("ledger", storage={"autovacuum_freeze_min_age": 0}),
        before=INSTALLED,
        writes=LEDGER_WRITES,
        scriptable=False,
    ),
    Example(
        "archive table of strange names in another schema",
        STRANGE,
        CreateArchiveTable("Lo'gs :a", 'Old %s "1"', archive_schema='Old "A" %s', schema="S x"),
        before=INSTALLED,
        writes=STRANGE_WRITES,
        scriptable=False,
    ),
    Example(
        "archive table of a long name, without a key",
        f"create table {LONG} (id int, {LONG_COLUMN} date)",
        CreateArchiveTable(LONG, rows="restore"),
        before=INSTALLED,
        writes=f"insert into {LONG} values ({{n}}, current_date)",
        scriptable=False,
    ),
    Example(
        "archive table in partitions",
        LEDGER,
        CreateArchiveTable("ledger", by=Monthly("at"), premake=1, storage={"autovacuum_freeze_min_age": 0}),
        before=INSTALLED,
        writes=LEDGER_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "archive table in partitions, of strange names in another schema",
        STRANGE,
        CreateArchiveTable(
            "Lo'gs :a",
            'Old %s "1"',
            by=Yearly("At :t", timezone="Europe/Berlin"),
            start="2020-01-01",
            widen_keys=True,
            archive_schema='Old "A" %s',
            schema="S x",
        ),
        before=INSTALLED,
        writes=STRANGE_WRITES,
        scriptable=False,
    ),
    Example(
        "archive table in partitions of a long name, without a key",
        f"create table {LONG} (id int, {LONG_COLUMN} date); insert into {LONG} values (1, '2024-01-01'), (2, null), (3, '-infinity')",
        CreateArchiveTable(LONG, by=Yearly(LONG_COLUMN)),
        before=INSTALLED,
        writes=f"insert into {LONG} values ({{n}}, current_date)",
        scriptable=False,
    ),
    Example(
        "archive table in partitions by numbers",
        LEDGER,
        CreateArchiveTable("ledger", by=IntRange("id", step=20)),
        before=INSTALLED,
        writes=LEDGER_WRITES,
        scriptable=False,
    ),
    Example(
        "archive table in partitions dropped",
        LEDGER,
        DropArchiveTable("ledger", "cold", by=Hash("id", 2)),
        before=(*INSTALLED, CreateArchiveTable("ledger", "cold", by=Hash("id", 2))),
        writes=LEDGER_WRITES,
        scriptable=False,
    ),
    Example(
        "archive table dropped",
        LEDGER,
        DropArchiveTable("ledger", "cold"),
        before=(*INSTALLED, CreateArchiveTable("ledger", "cold")),
        writes=LEDGER_WRITES,
        scriptable=False,
    ),
]

EXAMPLES = [*POLICIES, *ARCHIVES]
