"""The partitions of an archive: one for each period from the oldest row on, and a default for all that is older still."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgopt.copy.by import Hash, IntRange, Partitioning, Time
from pgopt.copy.layout import Layout
from pgopt.copy.memory import Memory
from pgopt.errors import InvalidOperation
from pgopt.server.quoting import ident, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


def said(db: Catalog, table: Relation, by: Partitioning) -> dict[str, Any]:
    """Describe by what an archive is partitioned, by the column of the table from which its rows come."""
    return by.described(db, table)


def is_so(db: Catalog, archive: Relation, wanted: Mapping[str, Any]) -> bool:
    """Whether an archive that is there is partitioned so."""
    memory = Memory.of(db, archive)
    return memory is not None and memory.by == wanted


def key_of_archive(db: Catalog, table: Relation, by: Partitioning, *, widen: bool) -> Sequence[str] | None:
    """Give the key of the archive, in which the column of its partitions must be; refuse where it cannot."""
    key = db.key_of(table)
    if key is None or by.column in key:
        return key
    if not widen:
        raise InvalidOperation(
            f"the key of {table} ({', '.join(key)}) does not contain {by.column}, and a partition alone cannot know the others'"
            " rows: widen_keys=True adds it in the archive"
        )
    if not db.column(table, by.column).not_null:
        raise InvalidOperation(
            f"column {by.column!r} of {table} may be NULL, and would be part of the archive's key: op.set_not_null_online first"
        )
    return [*key, by.column]


def layout(
    db: Catalog, table: Relation, archive: Relation, by: Partitioning, premake: int, start: str | None
) -> Layout:
    """Give the partitions that an archive is to have; no row may lack a place, however old it is."""
    return Layout(archive, by, said(db, table, by), premake, start, default=not isinstance(by, Hash))


def create(db: Catalog, table: Relation, of: Layout, parameters: Composable) -> Iterator[Composable]:
    """Make the partitions of an archive that was just made, and write down by what they are."""
    bounds = list(of.first(db, *_ends(db, table, of.by)))
    for name, bound in bounds:
        partition = ident(of.table.schema, name)
        yield sql("create table {} partition of {} {}{}", partition, of.table.ident, bound, parameters)
    was: dict[str, Any] = {"keys": {}, "key": None, "incoming": [], "storage": []}
    yield Memory(of.said, of.premake, was).write(of.table, plain=None)


def _ends(db: Catalog, table: Relation, by: Partitioning) -> tuple[str | None, str | None]:
    """Give the oldest key that is there, and the greatest of numbers; what is infinite or in the future is not looked at."""
    if isinstance(by, IntRange):
        there = sql("t.{} is not null", ident(by.column))
        return _end(db, table, by, there, "asc"), _end(db, table, by, there, "desc")
    if not isinstance(by, Time):
        return None, None
    by_what = said(db, table, by)
    now = db.session.value(sql("select pgopt.today({}, null)", literal(json.dumps(by_what))))
    there = sql("t.{} <= {}", ident(by.column), literal(now))
    if by_what["type"] not in ("uuid", "bigint"):
        there = sql("{} and t.{} > '-infinity'", there, ident(by.column))
    return _end(db, table, by, there, "asc"), None


def _end(db: Catalog, table: Relation, by: Partitioning, there: Composable, way: str) -> str | None:
    column = ident(by.column)
    # t.: or the text that it gives would be what is in order
    end = sql(
        "select t.{c}::text from {} t where {} order by t.{c} {} limit 1", table.ident, there, verbatim(way), c=column
    )
    found: str | None = db.session.value(end)
    return found
