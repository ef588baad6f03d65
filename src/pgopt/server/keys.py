"""Ranges of rows by key, for batches: where they end, and the condition that finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Relation
    from pgopt.server.session import Session


@dataclass(frozen=True)
class KeyRange:
    """The rows after one key, up to another; keys are the text that the server gave."""

    columns: Sequence[str]
    after: Sequence[str] | None
    upto: Sequence[str]

    def condition(self) -> Composable:
        """Give the condition that an index on the key serves in one range scan."""
        upper = sql("({}) <= ({})", _names(self.columns), _values(self.upto))
        if self.after is None:
            return upper
        return sql("({}) > ({}) and {}", _names(self.columns), _values(self.after), upper)


def end_of(session: Session, table: Relation, key: Sequence[str]) -> Sequence[str] | None:
    """Give the last key of a table, or nothing where it is empty."""
    with session.transaction({"datestyle": "ISO, MDY"}):
        row = session.row(
            sql("select {} from only {} as r order by {} limit 1", _texts(key), table.ident, _order(key, " desc"))
        )
    return row and list(row)


def edge_of(session: Session, table: Relation, keys: KeyRange, size: int) -> Sequence[str] | None:
    """Give the key at which a batch of this size ends, or nothing for the last batch."""
    with session.transaction({"datestyle": "ISO, MDY"}):
        row = session.row(
            sql(
                "select {} from only {} as r where {} order by {} offset {} limit 1",
                _texts(keys.columns),
                table.ident,
                keys.condition(),
                _order(keys.columns, ""),
                literal(size - 1),
            )
        )
    return row and list(row)


def _names(columns: Sequence[str]) -> Composable:
    return joined(map(ident, columns))


def _values(values: Sequence[str]) -> Composable:
    return joined(map(literal, values))


def _texts(columns: Sequence[str]) -> Composable:
    return joined(sql("{}::text", ident(column)) for column in columns)


def _order(columns: Sequence[str], direction: str) -> Composable:
    # qualified: a bare name would mean the text in the select list
    return joined(sql("r.{}{}", ident(column), verbatim(direction)) for column in columns)
