"""Extended statistics, statistics targets, and ANALYZE."""

from __future__ import annotations

from sqlalchemy import column, func

from pgopt.operations import (
    Analyze,
    CreateStatistics,
    DropStatistics,
    InstallPgopt,
    ResetColumnStatistics,
    SetColumnStatistics,
)
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
STRANGE_TABLE = 'straße; drop table "x" 1'
STRANGE_WRITES = """insert into "Büro ""A"" 1"."straße; drop table ""x"" 1" values ({n} + 1000, 'x', 'y', 'z')"""
FAMILY = """
create table animals (id int, legs int); create table dogs (breed text) inherits (animals);
insert into animals select g, 4 from generate_series(1, 500) g;
insert into dogs select g, 4, 'b' || g % 7 from generate_series(1, 500) g;
"""
FAMILY_WRITES = "insert into animals values ({n}, 2); insert into dogs values ({n}, 4, 'b')"

OBJECTS = [
    Example(
        "statistics of all kinds",
        TICKETS,
        CreateStatistics("st_tickets", "tickets", ["status", "organization_id", "assignee_id"]),
        writes=TICKET_WRITES,
        named=True,
    ),
    Example(
        "statistics of some kinds, with an expression",
        TICKETS,
        CreateStatistics(
            "st_tickets", "tickets", ["status", "lower(title)", "(organization_id % 10)"], kinds=["mcv", "ndistinct"]
        ),
        writes=TICKET_WRITES,
    ),
    Example(
        "statistics of one expression",
        TICKETS,
        CreateStatistics("st_tickets", "tickets", [func.lower(column("title"))]),
        writes=TICKET_WRITES,
    ),
    Example(
        "statistics of a partitioned table",
        EVENTS,
        CreateStatistics("st_events", "events", ["kind", "at"]),
        writes=EVENT_WRITES,
    ),
    Example(
        "statistics of an inheritance parent",
        FAMILY,
        CreateStatistics("st_animals", "animals", ["id", "legs"]),
        writes=FAMILY_WRITES,
    ),
    Example(
        "statistics of a materialized view",
        TICKETS
        + "create materialized view per_status as select status, organization_id, count(*) from tickets group by 1, 2",
        CreateStatistics("st_per_status", "per_status", ["status", "organization_id"]),
        writes=TICKET_WRITES,
    ),
    Example(
        "statistics of strange names in another schema",
        STRANGE,
        CreateStatistics('st "☃" %s', STRANGE_TABLE, ['"first name"', "名前"], schema='Büro "A" 1'),
        writes=STRANGE_WRITES,
    ),
    Example(
        "statistics with names of 63 bytes",
        f'create table "{LONG_TABLE}" (a int, b int)',
        CreateStatistics(LONG_INDEX, LONG_TABLE, ["a", "b"], kinds=["dependencies"]),
        writes=f'insert into "{LONG_TABLE}" values ({{n}}, {{n}})',
    ),
    Example(
        "statistics dropped",
        TICKETS + "create statistics st_tickets (mcv) on status, organization_id from tickets",
        DropStatistics("st_tickets", "tickets", ["organization_id", "status"], kinds=["mcv"]),
        writes=TICKET_WRITES,
    ),
]

TARGETS = [
    Example(
        "statistics target of a column",
        TICKETS + "alter table tickets alter status set statistics 50",
        SetColumnStatistics("tickets", "status", 1000),
        before=INSTALLED,
        writes=TICKET_WRITES,
        named=True,
    ),
    Example(
        "statistics target back to the default",
        TICKETS + "alter table tickets alter status set statistics 0",
        SetColumnStatistics("tickets", "status", None),
        before=INSTALLED,
        writes=TICKET_WRITES,
    ),
    Example(
        "statistics targets of partitions, each its own",
        DEEP
        + "alter table metrics_2 alter value set statistics 7; alter table only metrics alter value set statistics 9",
        SetColumnStatistics("metrics", "value", 500),
        before=INSTALLED,
        writes=DEEP_WRITES,
    ),
    Example(
        "statistics targets of an inheritance parent",
        FAMILY,
        SetColumnStatistics("animals", "legs", 10000),
        before=INSTALLED,
        writes=FAMILY_WRITES,
    ),
    Example(
        "statistics target of strange names in another schema",
        STRANGE,
        SetColumnStatistics(STRANGE_TABLE, "first name", 0, schema='Büro "A" 1'),
        before=INSTALLED,
        writes=STRANGE_WRITES,
    ),
    Example(
        "statistics targets given back",
        EVENTS + "alter table events_2024 alter kind set statistics 5",
        ResetColumnStatistics("events", "kind", 300),
        before=(*INSTALLED, SetColumnStatistics("events", "kind", 300)),
        writes=EVENT_WRITES,
        named=True,
    ),
]

ANALYZED = [
    Example("statistics analyzed", TICKETS, Analyze("tickets"), writes=TICKET_WRITES),
    Example(
        "statistics of two columns analyzed", TICKETS, Analyze("tickets", ["status", "title"]), writes=TICKET_WRITES
    ),
    Example("statistics of partitions analyzed", DEEP, Analyze("metrics"), writes=DEEP_WRITES),
    Example("statistics of a family analyzed", FAMILY, Analyze("animals", ["legs"]), writes=FAMILY_WRITES),
]

EXAMPLES = [*OBJECTS, *TARGETS, *ANALYZED]
