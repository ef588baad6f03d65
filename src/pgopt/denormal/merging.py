"""What a statement has changed in the source, by the keys that it is about, and how that is added to what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.denormal.definition import Definition, equal
from pgopt.server.quoting import ident, joined, sql, verbatim

if TYPE_CHECKING:
    from psycopg.sql import Composable

    from pgopt.denormal.definition import Kept


@dataclass(frozen=True)
class Change:
    """What one statement has changed: rows of keys `k1` …, with what was taken away (`o1` …) and added (`n1` …)."""

    of: Definition
    event: str

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

    def _side(self, rows: str, side: str) -> Composable:
        """Give what there is of each key in the rows of one side."""
        keys = self.of.source_keys
        numbered = [sql("{} as {}", key, ident(f"k{number}")) for number, key in enumerate(keys, 1)]
        known = joined((sql("{} is not null", key) for key in keys), " and ")
        return sql(
            "select {} from {} r where {} group by {}",
            joined([*numbered, *self._results(side)]),
            verbatim(rows),
            known,
            joined(keys),
        )

    def _results(self, side: str) -> list[Composable]:
        if self.of.incremental:
            return [
                sql("{} as {}", verbatim(column.expression), ident(f"{side}{number}"))
                for number, column in enumerate(self.of.columns, 1)
            ]
        # rows that say the same before and after have changed nothing, whatever is made of them
        inputs = joined(sql("r.{}", ident(name)) for name in self.of.inputs)
        row = sql("row({})::text", inputs)
        return [sql("array_agg({} order by {}) as {}", row, row, ident(f"{side}1"))]

    def _both(self) -> list[Composable]:
        if not self.of.incremental:
            return []
        numbers = range(1, len(self.of.columns) + 1)
        return [sql("{}.{}", verbatim(side), ident(f"{side}{number}")) for side in "on" for number in numbers]

    def _differences(self) -> list[Composable]:
        numbers = range(1, len(self.of.columns) + 1) if self.of.incremental else (1,)
        return [sql("o.{} is distinct from n.{}", ident(f"o{number}"), ident(f"n{number}")) for number in numbers]


def merged(of: Definition, number: int, event: str) -> Composable:
    """Set a column to what is there, with what a statement has added and taken away.

    What cannot be known without them is read from the rows again: the next of extremes, and whether a sum of nothing is left.
    """
    column = of.columns[number - 1]
    there, added, taken = sql("t.{}", ident(column.name)), ident("d", f"n{number}"), ident("d", f"o{number}")
    if event == "insert":
        return sql("{} = {}", ident(column.name), _with(column, there, added))
    none = sql("null::{}", verbatim(column.type))
    return sql(
        "{} = {}",
        ident(column.name),
        _without(of, column, there, added if event == "update" else none, taken),
    )


def _with(column: Kept, there: Composable, added: Composable) -> Composable:
    if column.merge == "count":
        return sql("coalesce({}, 0) + {}", there, added)
    if column.merge == "sum":
        return sql("coalesce({0} + {1}, {0}, {1})", there, added)
    return sql("{}({}, {})", verbatim("greatest" if column.merge == "max" else "least"), there, added)


def _without(of: Definition, column: Kept, there: Composable, added: Composable, taken: Composable) -> Composable:
    again = sql(
        "(select ({}) from {} r where {})",
        verbatim(column.expression),
        of.source.ident,
        equal(of.source_keys, of.target_keys("t")),
    )
    if column.merge == "count":
        return sql("coalesce({}, 0) + coalesce({}, 0) - coalesce({}, 0)", there, added, taken)
    if column.merge == "sum":
        left = sql("(coalesce({}, 0) + coalesce({}, 0) - coalesce({}, 0))", there, added, taken)
        return sql(
            "case when {taken} is null then coalesce({there} + {added}, {there}, {added}) when {added} is null and {left} = 0"
            " then case when {again} is not null then {left} end when {left}::text = 'NaN' then {again} else {left} end",
            taken=taken,
            there=there,
            added=added,
            left=left,
            again=again,
        )
    reaches = verbatim(">=" if column.merge == "max" else "<=")
    return sql(
        "case when coalesce({added} {reaches} {there}, false) then {added}"
        " when {taken} is null or not coalesce({taken} {reaches} {there}, true) then {best}({there}, {added}) else {again} end",
        taken=taken,
        there=there,
        added=added,
        reaches=reaches,
        best=verbatim("greatest" if column.merge == "max" else "least"),
        again=again,
    )
