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

# what stays bloated by the estimate, which knows nothing of padding, so that it is rebuilt each time: in another schema, by
# a name that is as long as can be, and in a partition; and an index that is as large as it must be
PADDED = "a smallint, b bigint, c smallint, d bigint, e smallint, f bigint"
ROWS = "select n, n, n, n, n, n from generate_series(1, 4000) n"
BLOATED = f"""
    create schema "S x"; create table "S x"."T %s :n" ({PADDED}); insert into "S x"."T %s :n" {ROWS};
    create index "ix %s :n" on "S x"."T %s :n" (a, b, c, d, e, f);
    create index "{"i" * 63}" on "S x"."T %s :n" (e desc, b, c, d, a, f) where a > 0;
    create table logs ({PADDED}) partition by range (b); create table logs_1 partition of logs default; insert into logs {ROWS};
    alter table logs add constraint logs_key primary key (a, b, c, d, e, f);
    create table fresh (id int primary key); insert into fresh select generate_series(1, 4000)"""

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
        ReindexBloated(above="30 kB"),
        before=WATCHED,
        writes='insert into "S x"."T %s :n" values ({n} % 9000)',
        scriptable=False,
        named=True,
    ),
    Example(
        "rebuild what is bloated in one schema, by measure",
        # so wide that a page is never full
        BLOATED
        + """; create schema "E x"; create extension pgstattuple schema "E x";
            create table wide (t text); alter table wide alter t set storage external;
            insert into wide select string_agg(md5(n::text || i), '') from generate_series(1, 300) n, generate_series(1, 66) i group by n;
            create index loose on wide (t)""",
        ReindexBloated(above="30 kB", schema="public"),
        before=(*WATCHED, Analyze("wide")),
        writes="insert into logs values ({n} % 9000, {n} + 9000, 0, 0, 0, 0)",
        scriptable=False,
    ),
]
