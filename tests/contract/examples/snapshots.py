"""Snapshots by the clock, and indexes that are rebuilt where they are bloated."""

from __future__ import annotations

from pgopt.operations import (
    Analyze,
    InstallMonitoring,
    InstallPgopt,
    InstallSnapshots,
    ReindexBloated,
    ScheduleJob,
    UninstallSnapshots,
)
from tests.contract.examples.base import Example

APPLICATION = 'create schema "S x"; create table "S x"."T %s :n" (id int primary key)'
WRITES = 'insert into "S x"."T %s :n" values ({n})'

# one that is bloated in another schema, one in a partition, a key, and one that is as large as it must be
BLOATED = """
    create schema "S x"; create table "S x"."T %s :n" (id int, "aB" text);
    insert into "S x"."T %s :n" select n, md5(n::text) from generate_series(1, 8000) n;
    create index "ix %s :n" on "S x"."T %s :n" (id); create index "{long}" on "S x"."T %s :n" ("aB" desc);
    delete from "S x"."T %s :n" where id % 8 > 0;
    create table logs (id uuid, n int, primary key (n, id)) partition by range (n); create table logs_1 partition of logs default;
    insert into logs select gen_random_uuid(), n from generate_series(1, 8000) n; delete from logs where n % 8 > 0;
    create table fresh (id int primary key); insert into fresh select generate_series(1, 8000)"""
BLOATED = BLOATED.replace("{long}", "i" * 63)

# what is estimated is relied on when all changes were before the statistics
WATCHED = (InstallPgopt(1), InstallMonitoring(), Analyze("T %s :n", schema="S x"), Analyze("logs"), Analyze("fresh"))

EXAMPLES = [
    Example("snapshots", APPLICATION, InstallSnapshots(), before=(InstallPgopt(1),), writes=WRITES, named=True),
    Example(
        "snapshots beside the views and another job",
        APPLICATION,
        InstallSnapshots(every="1 day", keep="1 year 2 months"),
        before=(InstallPgopt(1), InstallMonitoring(), ScheduleJob("tick", "select 1", every="1 minute")),
        writes=WRITES,
    ),
    Example(
        "no more snapshots",
        APPLICATION,
        UninstallSnapshots(every="20 seconds", keep="7 days"),
        before=(InstallPgopt(1), InstallSnapshots(every="20 seconds", keep="7 days")),
        writes=WRITES,
        named=True,
    ),
    Example(
        "rebuild what is bloated",
        BLOATED,
        ReindexBloated(above="60 kB"),
        before=WATCHED,
        writes='insert into "S x"."T %s :n" values ({n} + 9000, {n})',
        scriptable=False,
        named=True,
    ),
    Example(
        "rebuild what is bloated in one schema, by measure",
        BLOATED
        + """; create schema "E x"; create extension pgstattuple schema "E x";
            create index loose on logs (n) with (fillfactor = 20); alter index logs_1_n_idx reset (fillfactor)""",
        ReindexBloated(above="60 kB", schema="public"),
        before=WATCHED,
        writes="insert into logs values (gen_random_uuid(), {n} + 9000)",
        scriptable=False,
    ),
]
