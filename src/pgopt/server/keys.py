"""Ranges of rows for batches, by key or by page: where they end, and the condition that finds them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, LiteralString

from pgopt.errors import InvalidOperation
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.objects import Relation
    from pgopt.server.session import Session


@dataclass(frozen=True)
class KeyColumn:
    """A column of a key, with what puts its values in order."""

    name: str
    compared: str
    """The type as which values are compared and written down; not that of the column where this has no order of its own."""
    operators: Sequence[str]
    """The operators `<`, `<=`, `=`, `>=` and `>`, each with its schema."""
    seen: bool
    """Whether these are found by their bare names, too."""

    def value(self, text: str) -> Composable:
        """Give a value of the column."""
        return sql("{}::{}", literal(text), verbatim(self.compared))

    def text(self) -> Composable:
        """Give the column as the text that is read as such a value."""
        return sql("{}::{}::text", ident(self.name), verbatim(self.compared))

    def compare(self, operator: str, text: str) -> Composable:
        """Compare the column with a value."""
        meant = operator if self.seen else self.operators[_OPERATORS.index(operator)]
        return sql("{} {} {}", ident(self.name), verbatim(meant), self.value(text))


NULLABLE = "may be NULL, and rows with NULL would be left out: say key=[...] with columns that are never NULL"
READABLE = {"datestyle": "ISO", "intervalstyle": "iso_8601", "extra_float_digits": "1"}
"""Settings under which a value is written so that it is read back as the same, whatever the settings are then."""

_OPERATORS = ["<", "<=", "=", ">=", ">"]


def columns_of(session: Session, table: Relation, key: Sequence[str]) -> Sequence[KeyColumn]:
    """Look up how the columns of a key are put in order."""
    found = {name: rest for name, *rest in session.rows(order_of(sql("{}::regclass", _called(table)), key))}
    columns = []
    for name in key:
        if name not in found:
            raise InvalidOperation(
                f"{table} has no column {name!r}, by which its rows were to be told apart: run again"
            )
        kind, _, compared, operators, seen = found[name]
        if not operators:
            raise InvalidOperation(
                f"column {name!r} of {table} is {kind}, which has no order: say key=[...] with other columns"
            )
        columns.append(KeyColumn(name, compared, operators, seen))
    return columns


def equality_of(session: Session, table: Relation, key: Sequence[str]) -> Sequence[str]:
    """Look up the operators by which the columns of a key are equal, each with its schema, as DISTINCT takes them."""
    equal = _OPERATORS.index("=")
    found = {name: operators for name, _, _, _, operators, _ in session.rows(order_of(literal(table.oid), key))}
    # what has no order is equal by what the search path gives
    return [found[name][equal] if found.get(name) else "=" for name in key]


def order_of(table: Composable, key: Sequence[str]) -> Composable:
    """Ask how the columns of a key are put in order."""
    return query("key_order", table=table, key=literal(list(key)))


def unseen_order(table: Relation, key: Sequence[str]) -> Composable:
    """Ask for a sentence where a bare operator would not compare the columns of a key as they are put in order."""
    return sql(
        "select min(format({}, k.name, k.kind, k.kind_schema)) from ({}) k where not k.seen",
        literal(
            f"column %I of {str(table).replace('%', '%%')} is %s, whose operators are not on the search_path: add schema %I to"
            " that, or run this revision online"
        ),
        order_of(sql("to_regclass({})", _called(table)), key),
    )


def nullable_in(table: Composable, key: Sequence[str]) -> Composable:
    """Ask which column of a key may be NULL: a NULL is neither before nor after another value."""
    return query("nullable_key", table=table, key=literal(list(key)))


def said_of_nullable(table: Relation, key: Sequence[str]) -> Composable:
    """Ask for a sentence where a column of a key may be NULL."""
    return sql(
        "select format({}, n.name) from ({}) n (name) where n.name is not null",
        literal(f"column %I of {str(table).replace('%', '%%')} {NULLABLE}"),
        nullable_in(sql("to_regclass({})", _called(table)), key),
    )


def _called(table: Relation) -> Composable:
    return literal(render(table.ident))


@dataclass(frozen=True)
class KeyRange:
    """The rows after one key, up to another; keys are the text that the server gave."""

    columns: Sequence[KeyColumn]
    after: Sequence[str] | None
    upto: Sequence[str]

    def condition(self) -> Composable:
        """Give the condition that an index on the key serves in one range scan."""
        upper = self._compare("<=", self.upto)
        lower = [] if self.after is None else [self._compare(">", self.after)]
        return joined([*self._leading(), *lower, upper], " and ")

    def _compare(self, operator: LiteralString, values: Sequence[str]) -> Composable:
        """Compare whole keys.

        Rows are compared by operators of one name, so columns whose operators are in several schemas are compared one by one:
        an index then serves what `_leading` says alone.
        """
        if all(column.seen for column in self.columns):
            of_values = joined(column.value(value) for column, value in zip(self.columns, values, strict=True))
            return sql("({}) {} ({})", _names(self.columns), verbatim(operator), of_values)
        *before, last = zip(self.columns, values, strict=True)
        said: Composable = last[0].compare(operator, last[1])
        for column, value in reversed(before):
            beyond, same = column.compare(operator[0], value), column.compare("=", value)
            said = sql("({} or ({} and {}))", beyond, same, said)
        return said

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
                    yield column.compare(">=", after)
                yield column.compare("<=", upto)
                return
            yield column.compare("=", upto)


def _names(columns: Sequence[KeyColumn]) -> Composable:
    return joined(ident(column.name) for column in columns)


def _texts(columns: Sequence[KeyColumn]) -> Composable:
    return joined(column.text() for column in columns)


def _order(columns: Sequence[KeyColumn], direction: str) -> Composable:
    # qualified: a bare name would mean the text in the select list
    return joined(sql("r.{}{}", ident(column.name), verbatim(direction)) for column in columns)


class Rewritten(Exception):
    """A table has new files, so that its pages are others."""


class ByKey:
    """Cuts a table into ranges of a key."""

    def __init__(self, table: Relation, key: Sequence[KeyColumn]) -> None:
        self.table = table
        self.key = key

    def end(self, session: Session) -> Sequence[str] | None:
        """Give the last key, or nothing where the table is empty."""
        return self._key(session, sql("order by {}", _order(self.key, " desc")))

    def edge(self, session: Session, last: Sequence[str] | None, end: Sequence[str], rows: int) -> Sequence[str] | None:
        """Give the key at which a batch of so many rows ends, or nothing for the last batch."""
        among, order = self.condition(last, end), _order(self.key, "")
        return self._key(session, sql("where {} order by {} offset {}", among, order, literal(rows - 1)))

    def _key(self, session: Session, which: Composable) -> Sequence[str] | None:
        with session.transaction(READABLE):
            row = session.row(sql("select {} from only {} as r {} limit 1", _texts(self.key), self.table.ident, which))
        return row and list(row)

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
