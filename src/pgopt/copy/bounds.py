"""The bounds of single partitions, as a migration says them and as the server knows them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.copy.by import bare, beneath
from pgopt.copy.shape import PACKAGE
from pgopt.errors import InvalidOperation
from pgopt.server.queries import query
from pgopt.server.quoting import joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

_TEXT = r"(?:'(?:[^']|'')*'|[^'])*"
_RANGE = re.compile(rf"FOR VALUES FROM \(({_TEXT}?)\) TO \(({_TEXT})\)")
_LIST = re.compile(r"FOR VALUES IN \((.*)\)", re.DOTALL)


@dataclass(frozen=True)
class Bounds:
    """Which values of one column a partition holds: from one up to another, or some; all expressions are SQL."""

    lower: Composable | None = None
    upper: Composable | None = None
    values: Sequence[Composable] = ()

    @classmethod
    def said(cls, lower: Any, upper: Any, values: Sequence[Any]) -> Bounds:
        """Take what a migration says."""
        low, high = (None if end is None else literal(end) for end in (lower, upper))
        return cls(low, high, tuple(map(literal, values)))

    @classmethod
    def read(cls, text: str) -> Bounds | None:
        """Take what the server says, unless that is the default or a remainder."""
        if found := _LIST.fullmatch(text):
            return cls(values=(verbatim(found[1]),))
        if found := _RANGE.fullmatch(text):
            low, high = (None if end in ("MINVALUE", "MAXVALUE") else verbatim(end) for end in found.groups())
            return cls(low, high)
        return None

    def overlaps(self, other: Bounds, type_: str) -> Composable:
        """Ask whether a value may be in both."""
        if self.values or other.values:
            return sql("{} && {}", self._array(type_), other._array(type_))
        ends = ((self.lower, other.upper), (other.lower, self.upper))
        before = [
            _compare(lower, "<", upper, type_) for lower, upper in ends if lower is not None and upper is not None
        ]
        return joined(before, " and ") if before else verbatim("true")

    def holds(self, other: Bounds, type_: str) -> Composable:
        """Ask whether all of another range is in this one."""
        ends = [("<=", self.lower, other.lower), (">=", self.upper, other.upper)]
        said = [
            verbatim("false") if theirs is None else _compare(mine, sign, theirs, type_)
            for sign, mine, theirs in ends
            if mine is not None
        ]
        return joined(said, " and ") if said else verbatim("true")

    def outside(self, column: Composable) -> Composable:
        """Write the condition that a row is not within a range, where it has a value."""
        ends = [("<", self.lower), (">=", self.upper)]
        said = [sql("{} {} {}", column, verbatim(sign), end) for sign, end in ends if end is not None]
        return sql("({})", joined(said, " or ") if said else verbatim("false"))

    def equals(self, other: Bounds, type_: str) -> Composable:
        """Ask whether both are the same."""
        if self.values or other.values:
            mine, theirs = self._array(type_), other._array(type_)
            return sql("{} <@ {} and {} <@ {}", mine, theirs, theirs, mine)
        ends = ((self.lower, other.lower), (self.upper, other.upper))
        return joined([_compare(one, "is not distinct from", two, type_) for one, two in ends], " and ")

    def clause(self) -> Composable:
        """Write what follows ATTACH PARTITION and its name."""
        if self.values:
            return sql("for values in ({})", joined(self.values))
        return sql(
            "for values from ({}) to ({})", self.lower or verbatim("minvalue"), self.upper or verbatim("maxvalue")
        )

    def condition(self, column: Composable) -> Composable:
        """Write the CHECK by which the server sees that all rows are within."""
        if self.values:
            return sql("{} is not null and {} in ({})", column, column, joined(self.values))
        ends = [(">=", self.lower), ("<", self.upper)]
        said = [sql("{} {} {}", column, verbatim(sign), end) for sign, end in ends if end is not None]
        return joined([sql("{} is not null", column), *said], " and ")

    def _array(self, type_: str) -> Composable:
        return sql("array[{}]::{}[]", joined(self.values), verbatim(type_))


def beside_all(ranges: Sequence[Bounds], column: Composable) -> Composable:
    """Write the condition of the rows that are in none of some ranges, as a default partition has them."""
    if not ranges:
        return verbatim("true")
    return sql("{} is null or ({})", column, joined((each.outside(column) for each in ranges), " and "))


def _compare(one: Composable | None, sign: str, other: Composable | None, type_: str) -> Composable:
    sides = (verbatim("null") if side is None else side for side in (one, other))
    left, right = (sql("{}::{}", side, verbatim(type_)) for side in sides)
    return sql("{} {} {}", left, verbatim(sign), right)


@dataclass(frozen=True)
class Sibling:
    """A partition with its bounds."""

    oid: int
    name: str
    text: str
    pending: bool
    """Whether an interrupted DETACH CONCURRENTLY has left it half a partition."""

    @property
    def bounds(self) -> Bounds | None:
        """Its bounds, where they are a range or a list."""
        return Bounds.read(self.text)


@contextmanager
def read_alike(db: Catalog) -> Iterator[None]:
    """Let the server write bounds so that they mean the same in each session."""
    with db.session.rolled_back():
        db.session.set({"timezone": "UTC", "datestyle": "ISO, MDY"}, local=True)
        yield


def siblings(db: Catalog, table: Relation) -> list[Sibling]:
    """Give the partitions of a table, not those below them."""
    return [Sibling(*row) for row in db.session.rows(query("siblings", PACKAGE, table=literal(table.oid)))]


def default_of(db: Catalog, table: Relation) -> Relation | None:
    """Give the default partition of a table."""
    asked = sql("select nullif(partdefid, 0)::int8 from pg_partitioned_table where partrelid = {}", literal(table.oid))
    oid = db.session.value(asked)
    return None if oid is None else db.by_oid(oid)


def refuse_vague(db: Catalog, name: str, type_: str, ends: Sequence[Any]) -> None:
    """Refuse an instant that is another one in each time zone."""
    if bare(beneath(db, type_)) != "timestamp with time zone":
        return
    for end in ends:
        if end is not None and len({_instant(db, end, zone) for zone in ("UTC", "Pacific/Auckland")}) > 1:
            raise InvalidOperation(f"{end!r} of {name} depends on the time zone: say its offset, as in '{end}+00'")


def _instant(db: Catalog, value: Any, zone: str) -> Any:
    with db.session.rolled_back():
        db.session.set({"timezone": zone}, local=True)
        return db.session.value(sql("select extract(epoch from {}::timestamptz)::text", literal(value)))


def refuse_disorder(db: Catalog, name: str, type_: str, ranges: Sequence[Bounds]) -> None:
    """Refuse ranges of which one ends where it begins, or before."""
    for each in ranges:
        if each.lower is None or each.upper is None:
            continue
        if not db.session.value(sql("select {}", _compare(each.lower, "<", each.upper, type_))):
            raise InvalidOperation(
                f"at= of {name} is not in order, or not within it: there is nothing from {render(each.lower)} to {render(each.upper)}"
            )
