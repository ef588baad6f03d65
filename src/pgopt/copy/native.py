"""By what a table is partitioned that pgopt has not partitioned: read from the bounds of its partitions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgopt.copy.by import (
    TIME_TYPES,
    WEEK,
    WHOLE_TYPES,
    Daily,
    IntRange,
    Monthly,
    Quarterly,
    Weekly,
    Yearly,
    bare,
    beneath,
)
from pgopt.copy.shape import PACKAGE
from pgopt.errors import InvalidOperation
from pgopt.server.queries import query
from pgopt.server.quoting import literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgopt.copy.by import Partitioning
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


def by_of(db: Catalog, table: Relation) -> dict[str, Any]:
    """Read it, or refuse a table that is partitioned in a way of which pgopt makes no partitions."""
    key = db.partition_key(table)
    if len(key) != 1 or key[0] is None or db.partition_strategy(table) != "r":
        raise InvalidOperation(f"{table} is not partitioned by ranges of one column: pgopt manages only those")
    column = db.column(table, key[0])
    type_ = beneath(db, column.type)
    ways = [way.said(type_) for way in _ways(db, table, column.name, bare(type_))]
    asked = query("by", PACKAGE, table=literal(table.oid), ways=literal([json.dumps(way) for way in ways]))
    if (found := db.session.value(asked)) is None:
        raise InvalidOperation(
            f"the partitions of {table} are no days, weeks, months, quarters, years or equal ranges of {column.name}, in UTC or the"
            " time zone of this session: pgopt cannot tell which one comes next"
        )
    said: dict[str, Any] = json.loads(found)
    return said


def _ways(db: Catalog, table: Relation, column: str, type_: str) -> Iterator[Partitioning]:
    if type_ in WHOLE_TYPES:
        yield from (IntRange(column, step=step) for step in _widths(db, table))
    elif type_ in TIME_TYPES:
        for zone in dict.fromkeys(("UTC", str(db.session.value("show timezone")))):
            for kind in (Yearly, Quarterly, Monthly):
                yield kind(column, timezone=zone)
            yield from (Weekly(column, timezone=zone, starts_on=day) for day in WEEK)
            yield Daily(column, timezone=zone)


def _widths(db: Catalog, table: Relation) -> list[int]:
    rows = db.session.rows(
        sql(
            "select distinct ends[2]::numeric - ends[1]::numeric from pgopt.ranges_of({})"
            " where ends[1] <> 'MINVALUE' and ends[2] <> 'MAXVALUE' limit 2",
            literal(table.oid),
        )
    )
    return [int(width) for (width,) in rows if width == int(width)] if len(rows) == 1 else []
