"""The pieces of a partition: which there are to be, and what is remembered of the one that they were."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pgopt.copy.bounds import Bounds, read_alike, siblings
from pgopt.copy.layout import MOST
from pgopt.errors import InvalidOperation
from pgopt.server.quoting import literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True)
class Piece:
    """A partition that is to be: its name, and its range unless it is the default."""

    name: str
    bounds: Bounds | None

    def clause(self) -> Composable:
        """Write what follows ATTACH PARTITION and its name."""
        return verbatim("default") if self.bounds is None else self.bounds.clause()


@dataclass(frozen=True)
class Split:
    """What `pgopt.split` knows of a partition that was split."""

    whole: int
    """The empty table that it was, and will be again."""
    bound: str
    pieces: Sequence[int]
    said: dict[str, Any]

    @classmethod
    def of(cls, db: Catalog, table: Relation, name: str, schema: str | None) -> Split | None:
        """Read what is known of a partition by the name that it had."""
        row = db.session.row(
            sql(
                "select s.whole::oid::int8, s.bound, array(select p::oid::int8 from unnest(s.pieces) p), s.said::text from pgopt.split s"
                " join pg_class c on c.oid = s.whole join pg_namespace n on n.oid = c.relnamespace"
                " where (s.parent::oid, s.name, n.nspname) = ({}, {}, {})",
                *map(literal, (table.oid, name, schema or table.schema)),
            )
        )
        return row and cls(row[0], row[1], row[2], json.loads(row[3]))

    @property
    def bounds(self) -> Bounds | None:
        """Its range, unless it was the default."""
        return Bounds.read(self.bound)

    def parts(self, db: Catalog, table: Relation, type_: str) -> list[Relation]:
        """Give the partitions that are in its place by now."""
        with read_alike(db):
            there = siblings(db, table)
            if (bounds := self.bounds) is None:
                found = [each for each in there if each.oid in self.pieces or each.text == "DEFAULT"]
            else:
                found = [
                    each
                    for each in there
                    if each.bounds is not None
                    and db.session.value(sql("select {}", bounds.overlaps(each.bounds, type_)))
                ]
                for each in found:
                    assert each.bounds is not None
                    if not db.session.value(sql("select {}", bounds.holds(each.bounds, type_))):
                        raise InvalidOperation(
                            f"{each.name} of {table} is only in part of what is merged, {each.text}: split it first"
                        )
        return [db.by_oid(each.oid) for each in found]


def refuse_split(db: Catalog, table: Relation) -> None:
    """Refuse to let go of a table beside which there are others for the way back of its partitions."""
    names = sql(
        "select string_agg(name, ', ' order by name) from pgopt.split where parent = {}::oid", literal(table.oid)
    )
    if (split := db.session.value(names)) is not None:
        raise InvalidOperation(f"partitions of {table} were split ({split}): op.merge_partitions first")


def by_periods(
    db: Catalog, table: Relation, part: Relation, by: dict[str, Any], bounds: Bounds | None, start: str | None
) -> list[tuple[str, Bounds]]:
    """Cut a partition into periods: suffixes of names, with their bounds."""
    if bounds is None:
        asked = sql("pgopt.pieces_of_default({}, {}, {}, {})", *_asked(table, part, by), literal(MOST))
    else:
        ends = db.session.row(
            sql("select ends from pgopt.ranges_of({}) where partition = {}::oid", *map(literal, (table.oid, part.oid)))
        )[0]
        of_range = "pgopt.pieces_of_range({}, {}, {}, {}, {}, {})"
        asked = sql(of_range, *_asked(table, part, by)[1:], *map(literal, (start, *ends, MOST)))
    rows = db.session.rows(sql("select * from {}", asked))
    if len(rows) > MOST:
        raise InvalidOperation(
            f"{part} would be more than {MOST} partitions: say start=, a longer period, or at= and into="
        )
    return [(suffix, Bounds.said(_end(lower), _end(upper), ())) for suffix, lower, upper in rows]


def _asked(table: Relation, part: Relation, by: dict[str, Any]) -> list[Composable]:
    return [literal(table.oid), literal(part.oid), literal(json.dumps(by))]


def _end(text: str) -> str | None:
    return None if text in ("MINVALUE", "MAXVALUE") else text


def by_ends(bounds: Bounds | None, at: Sequence[str | int]) -> list[Bounds]:
    """Cut a range at some keys; of a default, give what is between them."""
    ends = list(map(literal, at))
    if bounds is None:
        return [Bounds(lower, upper) for lower, upper in pairwise(ends)]
    return [Bounds(lower, upper) for lower, upper in zip([bounds.lower, *ends], [*ends, bounds.upper], strict=True)]
