"""Ranges of rows for batches, by key or by page: where they end, and the condition that finds them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.objects import Relation
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
        lower = [] if self.after is None else [sql("({}) > ({})", _names(self.columns), _values(self.after))]
        return joined([*self._leading(), *lower, upper], " and ")

    def _leading(self) -> Iterator[Composable]:
        """Say of the columns alone what the rows imply.

        The planner does not see that two comparisons of rows are one range: it thinks that a large share of the table
        is wanted, and reads all of it for each batch.
        """
        if len(self.columns) == 1:
            return
        for column, after, upto in zip(self.columns, self.after or repeat(None), self.upto, strict=False):
            if after != upto:
                if after is not None:
                    yield sql("{} >= {}", ident(column), literal(after))
                yield sql("{} <= {}", ident(column), literal(upto))
                return
            yield sql("{} = {}", ident(column), literal(upto))


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


class Rewritten(Exception):
    """A table has new files, so that its pages are others."""


class ByKey:
    """Cuts a table into ranges of a key."""

    def __init__(self, table: Relation, key: Sequence[str]) -> None:
        self.table = table
        self.key = key

    def end(self, session: Session) -> Sequence[str] | None:
        """Give the last key, or nothing where the table is empty."""
        return end_of(session, self.table, self.key)

    def edge(self, session: Session, last: Sequence[str] | None, end: Sequence[str], rows: int) -> Sequence[str] | None:
        """Give the key at which a batch of so many rows ends, or nothing for the last batch."""
        return edge_of(session, self.table, KeyRange(self.key, last, end), rows)

    def condition(self, last: Sequence[str] | None, upto: Sequence[str]) -> Composable:
        """Give the condition that finds the rows after one key, up to another."""
        return KeyRange(self.key, last, upto).condition()

    def check(self, session: Session, end: Sequence[str]) -> None:
        """Keys stay what they are."""

    def goes_on(self, session: Session, end: Sequence[str], *, finished: bool, named: bool) -> bool:
        """Whether a run that began with this end is to be taken up.

        Outside of a revision nothing tells an interrupted call from a new one, once it is finished.
        """
        return named or not finished


class ByPage:
    """Cuts a table into ranges of pages; an edge is the number of the first page that is not of the range."""

    def __init__(self, table: Relation, into: Composable) -> None:
        self.table = table
        self.into = into

    def end(self, session: Session) -> Sequence[str] | None:
        """Give the number of pages, with the file that they are in, and what is filled from them."""
        pages, file = session.row(_pages(self.table))
        return [str(pages), str(file), self._filled(session)] if pages else None

    def _filled(self, session: Session) -> str:
        return str(session.value(sql("select {}::regclass::oid", literal(render(self.into)))))

    def goes_on(self, session: Session, end: Sequence[str], *, finished: bool, named: bool) -> bool:
        """Whether a run that began with this end filled the same table."""
        return end[2] == self._filled(session)

    def edge(self, session: Session, last: Sequence[str] | None, end: Sequence[str], rows: int) -> Sequence[str] | None:
        """Give the page at which a batch of about so many rows ends, or nothing for the last batch."""
        dense = session.value(
            sql(
                "select greatest(reltuples / nullif(relpages, 0), 1) from pg_class where oid = {}",
                literal(self.table.oid),
            )
        )
        edge = (int(last[0]) if last else 0) + max(1, round(rows / (dense or 50)))
        return [str(edge), *end[1:]] if edge < int(end[0]) else None

    def condition(self, last: Sequence[str] | None, upto: Sequence[str]) -> Composable:
        """Give the condition that finds the rows on a range of pages."""
        first = int(last[0]) if last else 0
        # the table may have grown: what is new there is in the log
        return sql("ctid >= {}::tid and ctid < {}::tid", literal(f"({first},0)"), literal(f"({upto[0]},0)"))

    def check(self, session: Session, end: Sequence[str]) -> None:
        """Refuse pages that are no longer those that were counted."""
        if str(session.row(_pages(self.table))[1]) != end[1]:
            raise Rewritten


def _pages(table: Relation) -> Composable:
    return sql(
        "select pg_relation_size(oid) / current_setting('block_size')::int8, pg_relation_filenode(oid) from pg_class where oid = {}",
        literal(table.oid),
    )
