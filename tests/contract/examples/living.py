"""Partitioned tables that go on living."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Numeric, PrimaryKeyConstraint, String

from pgopt import Daily, Hash, IntRange, ListOf, Monthly
from pgopt.operations import (
    CreatePartitionedTable,
    DropPartitionedTable,
    FinalizePartitioning,
    InstallPgopt,
    ManagePartitions,
    PartitionTable,
    UnmanagePartitions,
)
from tests.contract.examples.base import Example

TINY = "create table tiny (id int primary key); insert into tiny values (1), (11)"
TINY_WRITES = "insert into tiny values ({n} % 15) on conflict do nothing; delete from tiny where id = {n} + 3"
BY_TEN = (InstallPgopt(1), PartitionTable("tiny", IntRange("id", step=10), premake=1), FinalizePartitioning("tiny"))
LONG = "t" * 63

OTHER = "create table other (id int primary key)"
EVENTS = ["id uuid not null", "at timestamptz not null", "kind text", "constraint pk primary key (id, at)"]

EXAMPLES = [
    Example(
        "create a partitioned table",
        OTHER,
        CreatePartitionedTable("events", EVENTS, Monthly("at"), premake=2, default=True),
        before=(InstallPgopt(1),),
        scriptable=False,
    ),
    Example(
        "create a partitioned table of strange names",
        'create schema "S x";' + OTHER,
        CreatePartitionedTable(
            'Lo\'gs "1"',
            [
                Column("Id %s", BigInteger, Identity(always=True)),
                Column("re:gion", String(2), server_default="DE"),
                Column("n", Numeric(10, 2), nullable=False),
                PrimaryKeyConstraint("Id %s", "re:gion", name="The key"),
                CheckConstraint("n > 0 and n < 100", name="n is small"),
            ],
            ListOf("re:gion", {"eu": ["DE", "FR"], "us": ["US"]}),
            schema="S x",
        ),
        before=(InstallPgopt(1),),
        scriptable=False,
    ),
    Example(
        "drop a partitioned table",
        OTHER,
        DropPartitionedTable("hashed", ["id int primary key"], Hash("id", 3)),
        before=(InstallPgopt(1), CreatePartitionedTable("hashed", ["id int primary key"], Hash("id", 3))),
        scriptable=False,
    ),
    Example(
        "manage partitions",
        TINY,
        ManagePartitions("tiny", premake=2, keep=100, on_expiry="drop"),
        before=BY_TEN,
        writes=TINY_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "manage partitions by another rule",
        TINY,
        ManagePartitions("tiny", keep="30"),
        before=(
            *BY_TEN,
            ManagePartitions("tiny", premake=5, keep="200", on_expiry="drop"),
        ),
        # outside of revisions both share one memory, in which the first counts
        back=(
            UnmanagePartitions("tiny", keep="30"),
            ManagePartitions("tiny", premake=5, keep="200", on_expiry="drop"),
        ),
        writes=TINY_WRITES,
        scriptable=False,
    ),
    Example(
        "manage partitions and archive what is old",
        'create schema "S x"; create schema "Old ""A"""; create table "S x"."Lo\'gs" (id int, "At" timestamptz, primary key (id, "At"))',
        ManagePartitions("Lo'gs", keep="12 months", on_expiry="archive", archive_schema='Old "A"', schema="S x"),
        before=(InstallPgopt(1), PartitionTable("Lo'gs", Monthly("At"), schema="S x")),
        writes='insert into "S x"."Lo\'gs" values ({n}, now())',
        scriptable=False,
    ),
    Example(
        "manage partitions of a long name",
        f"create table {LONG} (at date primary key)",
        ManagePartitions(LONG, premake=4),
        before=(InstallPgopt(1), PartitionTable(LONG, Daily("at"))),
        writes=f"insert into {LONG} values (current_date + {{n}} % 3) on conflict do nothing",
        scriptable=False,
    ),
    Example(
        "manage partitions that others have made",
        """create schema "S x"; create table "S x"."Lo'gs %" (id int, "At:" date, primary key (id, "At:")) partition by range ("At:");
        create table "S x"."1:%" partition of "S x"."Lo'gs %" for values from (minvalue) to ('2020-01-01');
        create table "S x"."2:%" partition of "S x"."Lo'gs %" for values from ('2020-01-01') to ('2020-04-01');
        create table "S x"."3:%" partition of "S x"."Lo'gs %" default""",
        ManagePartitions("Lo'gs %", premake=2, keep="10 years", schema="S x"),
        before=(InstallPgopt(1),),
        writes="""insert into "S x"."Lo'gs %" values ({n}, '2020-02-02')""",
        scriptable=False,
    ),
    Example(
        "unmanage partitions",
        TINY,
        UnmanagePartitions("tiny", keep="100"),
        before=(*BY_TEN, ManagePartitions("tiny", keep="100")),
        writes=TINY_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "unmanage partitions that go by time",
        "create table days (at date primary key)",
        UnmanagePartitions("days", premake=5, keep="7 days", on_expiry="drop"),
        before=(
            InstallPgopt(1),
            PartitionTable("days", Daily("at"), premake=1),
            FinalizePartitioning("days"),
            ManagePartitions("days", premake=5, keep="7 days", on_expiry="drop"),
        ),
        writes="insert into days values (current_date + {n} % 2) on conflict do nothing",
        scriptable=False,
        named=True,
    ),
]
