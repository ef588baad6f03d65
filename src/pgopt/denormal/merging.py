"""What a statement has changed in the source, by the keys that it is about, and how that is added to what is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.denormal.definition import RECOUNTED, Definition, equal
from pgopt.server.quoting import ident, joined, sql, verbatim

if TYPE_CHECKING:
    from psycopg.sql import Composable


_PLAIN = re.compile(r"(count|sum|min|max)\((\*|[a-z_][a-z0-9_]*|\"(?:[^\"]|\"\")+\")\)")
"""Expressions without operators, casts and filters, whose functions would be looked for by the search path."""


def _named_in_full(expression: str) -> Composable:
    return verbatim(f"pg_catalog.{expression}" if _PLAIN.fullmatch(expression) else expression)


@dataclass(frozen=True)
class Change:
    """What one statement has changed: rows of keys `k1` …, with what was taken away (`o1` …) and added (`n1` …)."""

    of: Definition
    event: str

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The columns of the query, with their types."""
        keys = [(f"k{number}", key.type) for number, key in enumerate(self.of.on, 1)]
        if not self.of.incremental:
            return keys
        sides = {"insert": "n", "delete": "o", "update": "on"}[self.event]
        numbered = list(enumerate(self.of.columns, 1))
        return keys + [(f"{side}{number}", column.full_type) for side in sides for number, column in numbered]

    @property
    def query(self) -> Composable:
        """The query, in a function of a trigger that has the rows."""
        if self.event == "insert":
            return self._side("new_rows", "n")
        if self.event == "delete":
            return self._side("old_rows", "o")
        numbers = [number for number, _ in enumerate(self.of.on, 1)]
        keys = [sql("coalesce(o.{0}, n.{0}) as {0}", ident(f"k{number}")) for number in numbers]
        match = equal(*([sql("{}.{}", verbatim(side), ident(f"k{number}")) for number in numbers] for side in "on"))
        return sql(
            "select {} from ({}) o full join ({}) n on {} where o.k1 is null or n.k1 is null or {}",
            joined([*keys, *self._both()]),
            self._side("old_rows", "o"),
            self._side("new_rows", "n"),
            match,
            joined(self._differences(), " or "),
        )

    @property
    def qualified(self) -> bool:
        """Whether the query means the same by any search path."""
        return not self.of.incremental or all(_PLAIN.fullmatch(column.expression) for column in self.of.columns)

    def _side(self, rows: str, side: str) -> Composable:
        """Give what there is of each key in the rows of one side; of columns, a key has one row."""
        keys = self.of.source_keys
        numbered = [sql("{} as {}", key, ident(f"k{number}")) for number, key in enumerate(keys, 1)]
        known = joined((sql("{} is not null", key) for key in keys), " and ")
        return sql(
            "select {} from {} r where {}{}",
            joined([*numbered, *self._results(side)]),
            verbatim(rows),
            known,
            sql(" group by {}", joined(keys)) if self.of.aggregate else verbatim(""),
        )

    def _results(self, side: str) -> list[Composable]:
        if self.of.incremental:
            return [
                sql("{} as {}", _named_in_full(column.expression), ident(f"{side}{number}"))
                for number, column in enumerate(self.of.columns, 1)
            ]
        # rows that say the same before and after have changed nothing, whatever is made of them
        inputs = joined(sql("r.{}", ident(name)) for name in self.of.inputs)
        if not self.of.aggregate:
            return [sql("row({}) as {}", inputs, ident(f"{side}1"))]
        row = sql("row({})::pg_catalog.text", inputs)
        return [sql("pg_catalog.array_agg({} order by {}) as {}", row, row, ident(f"{side}1"))]

    def _both(self) -> list[Composable]:
        if not self.of.incremental:
            return []
        numbers = range(1, len(self.of.columns) + 1)
        return [sql("{}.{}", verbatim(side), ident(f"{side}{number}")) for side in "on" for number in numbers]

    def _differences(self) -> list[Composable]:
        if not self.of.aggregate:
            # rows as they are stored, since not all types can be compared
            return [verbatim("o.o1 operator(pg_catalog.*<>) n.n1")]
        numbers = range(1, len(self.of.columns) + 1) if self.of.incremental else (1,)
        return [sql("o.{} is distinct from n.{}", ident(f"o{number}"), ident(f"n{number}")) for number in numbers]


def merged(of: Definition, number: int, event: str, *, one: bool = False) -> Composable:
    """Set a column to what is there, with what a statement has added and taken away.

    What cannot be known without them is read from the rows again: the next of extremes, whether a sum of nothing is left, and what a sum
    is without a NaN; only the last would count twice what a command does by several triggers (MERGE, ON CONFLICT).
    """
    column = of.columns[number - 1]
    none = sql("null::{}", verbatim(column.full_type))
    added, taken = (
        sql("{}[1]", ident(f"pgopt_{side}{number}")) if one else ident("d", f"{side}{number}") for side in "no"
    )
    pieces = {
        "there": sql("t.{}", ident(column.name)),
        "added": none if event == "delete" else added,
        "taken": none if event == "insert" else taken,
        "again": sql("(select v.c from {}({}) v)", of.function(f"value{number}"), joined(of.target_keys("t"))),
        "recounted": sql(
            "(select v.c from {}({}) v where {} is not null)",
            of.function(f"value{number}"),
            joined(of.target_keys("t")),
            verbatim(RECOUNTED),
        ),
        "plus": verbatim("operator(pg_catalog.+)"),
        "minus": verbatim("operator(pg_catalog.-)"),
        "best": verbatim("least" if column.merge == "min" else "greatest"),
        "reaches": verbatim("operator(pg_catalog.<=)" if column.merge == "min" else "operator(pg_catalog.>=)"),
    }
    left = sql("(coalesce({there}, 0) {plus} coalesce({added}, 0) {minus} coalesce({taken}, 0))", **pieces)
    if column.merge == "count":
        return sql("{} = {}", ident(column.name), left)
    if column.merge == "sum":
        return sql(_SUM if event != "insert" else _MORE, ident(column.name), left=left, **pieces)
    return sql(_EXTREME if event != "insert" else _FURTHER, ident(column.name), **pieces)


_MORE = "{} = coalesce({there} {plus} {added}, {there}, {added})"
_FURTHER = "{} = {best}({there}, {added})"
_SUM = """{} = case
    when {taken} is null then coalesce({there} {plus} {added}, {there}, {added})
    when {added} is null and {left} operator(pg_catalog.=) 0 then case when {again} is not null then {left} end
    when {left}::pg_catalog.text operator(pg_catalog.=) 'NaN' then {recounted}
    else {left}
end"""
_EXTREME = """{} = case
    when coalesce({added} {reaches} {there}, false) then {added}
    when {taken} is null or not coalesce({taken} {reaches} {there}, true) then {best}({there}, {added})
    else {again}
end"""
