"""Unique constraints and primary keys, on tables as people have them."""

from __future__ import annotations

from pgopt.operations import (
    CreatePrimaryKeyOnline,
    CreateUniqueConstraintOnline,
    DropPrimaryKeyOnline,
    DropUniqueConstraintOnline,
    ReplacePrimaryKeyOnline,
)
from tests.contract.examples.base import Example
from tests.contract.examples.constraints import LONG, NODES, PROPOSALS, TREE, WITH_KEYS, WRITES

# NOT NULL is said of each, since PostgreSQL 18 makes it the partitions' own when they get their part of a primary key
EVENTS = """
create table events (id int not null, at date not null, kind int not null) partition by range (at);
create table events_2025 partition of events (id not null, at not null, kind not null)
    for values from ('2025-01-01') to ('2026-01-01');
create table events_2026 partition of events (id not null, at not null, kind not null)
    for values from ('2026-01-01') to ('2027-01-01') partition by list (kind);
create table events_2026_a partition of events_2026 (id not null, at not null, kind not null) for values in (1, 2, 3);
create table events_2026_b partition of events_2026 (id not null, at not null, kind not null) default;
insert into events select g, date '2025-01-01' + g, 1 + g % 9 from generate_series(1, 700) g;
"""
EVENT_WRITES = """
insert into events values (1000 + {n}, date '2025-01-01' + {n} % 700, 1 + {n} % 9);
update events set kind = 1 + (kind + 1) % 9 where id = {n} % 90;
delete from events where id = {n} % 50
"""

SALES = '''
create schema "Sales Dept";
create table "Sales Dept"."Big ""Deal""" ("is ok" int not null, "Région" text) partition by list ("is ok");
create table "Sales Dept"."deals of 1" partition of "Sales Dept"."Big ""Deal""" for values in (1);
create table public."deals of 1" partition of "Sales Dept"."Big ""Deal""" for values in (2);
insert into "Sales Dept"."Big ""Deal""" select 1 + g % 2, 'r' || g from generate_series(1, 50) g;
'''

KEPT = '''
create schema "Sales Dept";
create table "Sales Dept"."Big ""Deal""" ("is ok" int not null, "Région" text not null,
    constraint "the ""Key""" primary key ("is ok", "Région") with (fillfactor = 60, deduplicate_items = off));
insert into "Sales Dept"."Big ""Deal""" select g, 'r' || g from generate_series(1, 50) g;
comment on constraint "the ""Key""" on "Sales Dept"."Big ""Deal""" is 'the key';
comment on index "Sales Dept"."the ""Key""" is 'its index';
alter table "Sales Dept"."Big ""Deal""" cluster on "the ""Key""";
alter table "Sales Dept"."Big ""Deal""" replica identity using index "the ""Key""";
'''

KEPT_OPERATION = ReplacePrimaryKeyOnline(
    'the "Key"', 'Big "Deal"', ["Région"], old=["is ok", "Région"], schema="Sales Dept"
)

EXAMPLES = [
    Example(
        "unique constraint",
        PROPOSALS,
        CreateUniqueConstraintOnline("uq_slug", "proposals", ["slug"]),
        writes=WRITES,
        named=True,
    ),
    Example(
        "unique constraint with all options",
        PROPOSALS,
        CreateUniqueConstraintOnline(
            "uq",
            "proposals",
            ["customer_id", "slug"],
            include=["value"],
            nulls_not_distinct=True,
            deferrable=True,
            initially_deferred=True,
        ),
        writes=WRITES,
    ),
    Example(
        "drop of a unique constraint",
        WITH_KEYS,
        DropUniqueConstraintOnline("uq_slug", "proposals", ["slug"], include=["value"]),
        writes=WRITES,
    ),
    Example(
        "primary key",
        f"create table {LONG} (a int not null, b text not null); insert into {LONG} select g, 'x' from generate_series(1, 30) g",
        CreatePrimaryKeyOnline("p" * 63, LONG, ["b", "a"]),
    ),
    Example("drop of a primary key", TREE, DropPrimaryKeyOnline("nodes_pkey", "nodes", ["tenant", "id"]), writes=NODES),
    Example(
        "unique constraint of columns with spaces",
        'create table t ("is ok" int, "a ""b"" desc" int); insert into t select g, g from generate_series(1, 30) g',
        CreateUniqueConstraintOnline("uq", "t", ["is ok"], include=['a "b" desc']),
        writes="insert into t values ({n} + 100, 1)",
    ),
    Example(
        "primary key of a partitioned table",
        EVENTS,
        CreatePrimaryKeyOnline("events_pkey", "events", ["id", "at", "kind"]),
        writes=EVENT_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "unique constraint of a partitioned table, with all options",
        SALES,
        CreateUniqueConstraintOnline(
            'the "Key"',
            'Big "Deal"',
            ["Région", "is ok"],
            nulls_not_distinct=True,
            deferrable=True,
            initially_deferred=True,
            schema="Sales Dept",
        ),
        writes='''insert into "Sales Dept"."Big ""Deal""" values (1 + {n} % 2, 'n{n}')''',
        scriptable=False,
    ),
    Example(
        "unique constraint of a partitioned table, names of 63 bytes",
        f"create table {LONG} (a int, b int) partition by list (a);"
        f" create table {LONG[:-2]}_1 partition of {LONG} for values in (1);"
        f" create table {LONG[:-2]}_2 partition of {LONG} for values in (2);",
        CreateUniqueConstraintOnline("u" * 63, LONG, ["b", "a"], include=[]),
        writes=f"insert into {LONG} values (1 + {{n}} % 2, {{n}})",
        scriptable=False,
    ),
    Example(
        "primary key of a partitioned table without partitions",
        "create table logs (at date not null) partition by range (at)",
        CreatePrimaryKeyOnline("logs_pkey", "logs", ["at"]),
        scriptable=False,
    ),
    Example(
        "drop of a primary key from partitions",
        EVENTS
        + """
            alter table events add constraint pk primary key (id, at, kind);
            alter index events_2025_pkey rename to events_2025_pk;
            alter index events_2026_pkey rename to events_2026_pk;
            alter index events_2026_a_pkey rename to events_2026_a_pk;
            alter index events_2026_b_pkey rename to events_2026_b_pk;
        """,
        DropPrimaryKeyOnline("pk", "events", ["id", "at", "kind"]),
        writes=EVENT_WRITES,
        scriptable=False,
    ),
    Example(
        "replaced primary key",
        PROPOSALS,
        ReplacePrimaryKeyOnline("proposals_pkey", "proposals", ["id", "created_at"], old=["id"]),
        writes=WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "replaced primary key with all that hangs on it",
        KEPT,
        KEPT_OPERATION,
        writes='''insert into "Sales Dept"."Big ""Deal""" values ({n} + 500, 'n{n}')''',
        scriptable=False,
    ),
    Example(
        "replaced primary key of 63 bytes",
        f"create table {LONG} (a int not null, b int not null, constraint {'k' * 63} primary key (a));"
        f" insert into {LONG} select g, g from generate_series(1, 40) g",
        ReplacePrimaryKeyOnline("k" * 63, LONG, ["b", "a"], old=["a"]),
        writes=f"insert into {LONG} values ({{n}} + 100, 1)",
        scriptable=False,
    ),
    Example(
        "replaced primary key of a partitioned table",
        EVENTS
        + """
            alter table events add constraint pk primary key (id, at, kind) with (fillfactor = 80);
            alter index events_2026_a_pkey rename to "of A";
            comment on constraint pk on events is 'the whole';
            comment on index "of A" is 'a part';
            alter table events_2025 replica identity using index events_2025_pkey;
        """,
        ReplacePrimaryKeyOnline("pk", "events", ["kind", "at", "id"], old=["id", "at", "kind"]),
        writes=EVENT_WRITES,
        scriptable=False,
    ),
    Example(
        "replaced primary key of a partitioned table in two schemas",
        SALES.replace('"Région" text', '"Région" text not null').replace(
            "values in (1)", "values in (1) with (fillfactor = 70)"
        )
        + """
            alter table "Sales Dept"."deals of 1" alter "is ok" set not null, alter "Région" set not null;
            alter table public."deals of 1" alter "is ok" set not null, alter "Région" set not null;
            alter table "Sales Dept"."Big ""Deal\"\"" add constraint "the %s :key" primary key ("is ok", "Région");
        """,
        ReplacePrimaryKeyOnline(
            "the %s :key", 'Big "Deal"', ["Région", "is ok"], old=["is ok", "Région"], schema="Sales Dept"
        ),
        writes='''insert into "Sales Dept"."Big ""Deal""" values (1 + {n} % 2, 'n{n}')''',
        scriptable=False,
    ),
]
