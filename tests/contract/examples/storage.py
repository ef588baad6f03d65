"""Storage parameters of tables, indexes and materialized views."""

from __future__ import annotations

from pgopt.operations import InstallPgopt, ResetStorageParameters, SetStorageParameters
from tests.contract.examples.base import Example
from tests.contract.examples.indexes import (
    DEEP,
    DEEP_WRITES,
    EVENT_WRITES,
    EVENTS,
    LONG_INDEX,
    LONG_TABLE,
    STRANGE,
    TICKETS,
)
from tests.contract.examples.indexes import WRITES as TICKET_WRITES

INSTALLED = (InstallPgopt(1),)

EXAMPLES = [
    Example(
        "storage of a table, of which some was set and some not",
        TICKETS + "alter table tickets set (fillfactor = 90, autovacuum_enabled = off, autovacuum_vacuum_threshold = 7,"
        " toast.autovacuum_vacuum_threshold = 9, toast.autovacuum_enabled = on)",
        SetStorageParameters(
            "tickets",
            {
                "fillfactor": 70,
                "autovacuum_vacuum_scale_factor": 0.01,
                "autovacuum_enabled": None,
                "toast.autovacuum_vacuum_threshold": 11,
                "toast.autovacuum_vacuum_cost_delay": 1.5,
            },
        ),
        before=INSTALLED,
        writes=TICKET_WRITES,
        named=True,
    ),
    Example(
        "storage of partitions, each with its own",
        EVENTS + "alter table events_2024 set (autovacuum_analyze_threshold = 100, fillfactor = 50);"
        " alter table events_2025 set (fillfactor = 80)",
        SetStorageParameters("events", {"fillfactor": 80, "autovacuum_analyze_scale_factor": 0.005}),
        before=INSTALLED,
        writes=EVENT_WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "storage of partitions of partitions",
        DEEP,
        SetStorageParameters("metrics", {"autovacuum_freeze_max_age": 300_000_000}),
        before=INSTALLED,
        writes=DEEP_WRITES,
        scriptable=False,
    ),
    Example(
        "storage of an index",
        TICKETS + "create index ix_tickets_status on tickets (status) with (fillfactor = 80, deduplicate_items = off)",
        SetStorageParameters("ix_tickets_status", {"fillfactor": 60}),
        before=INSTALLED,
        writes=TICKET_WRITES,
    ),
    Example(
        "storage of an index that PostgreSQL wants for itself",
        TICKETS
        + "create index ix_tickets_title on tickets using gin (to_tsvector('simple', title)) with (fastupdate = off)",
        SetStorageParameters("ix_tickets_title", {"fastupdate": True, "gin_pending_list_limit": 512}),
        before=INSTALLED,
        writes=TICKET_WRITES,
    ),
    Example(
        "storage of the index of a partitioned table",
        EVENTS + "create index ix_events_kind on events (kind)",
        SetStorageParameters("ix_events_kind", {"fillfactor": 55}),
        before=INSTALLED,
        writes=EVENT_WRITES,
        scriptable=False,
    ),
    Example(
        "storage of a materialized view",
        TICKETS + "create materialized view per_status as select status, count(*) n from tickets group by status",
        SetStorageParameters("per_status", {"autovacuum_enabled": False, "toast.autovacuum_enabled": False}),
        before=INSTALLED,
        writes=TICKET_WRITES,
    ),
    Example(
        "storage of a catalog table",
        TICKETS,
        SetStorageParameters("tickets", {"user_catalog_table": True}),
        before=INSTALLED,
        writes=TICKET_WRITES,
    ),
    Example(
        "storage of strange names in another schema",
        STRANGE,
        SetStorageParameters('straße; drop table "x" 1', {"fillfactor": 75}, schema='Büro "A" 1'),
        before=INSTALLED,
        writes="""insert into "Büro ""A"" 1"."straße; drop table ""x"" 1" values ({n} + 1000, 'x', 'y', 'z')""",
    ),
    Example(
        "storage of names of 63 bytes",
        f'create table "{LONG_TABLE}" (a int, b text); create index "{LONG_INDEX}" on "{LONG_TABLE}" (a)',
        SetStorageParameters(LONG_INDEX, {"fillfactor": 70}),
        before=INSTALLED,
        writes=f'insert into "{LONG_TABLE}" values ({{n}}, {{n}})',
    ),
    Example(
        "storage given back",
        EVENTS + "alter table events_2024 set (fillfactor = 50)",
        ResetStorageParameters("events", {"fillfactor": 80}),
        before=(*INSTALLED, SetStorageParameters("events", {"fillfactor": 80})),
        writes=EVENT_WRITES,
        scriptable=False,
        named=True,
    ),
]
