"""What is kept: which columns of a table, from which other one, by which keys."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

PREFIX = "zz_pgopt"
"""Triggers of a table fire in the order of their names: these see what the others have made of a row."""
_COLUMN = re.compile(r"[a-z_][a-z0-9_$]*|\"(?:[^\"]|\"\")+\"")
MOMENT = "extract(epoch from pg_catalog.statement_timestamp())::pg_catalog.text"
RECOUNTED = f"pg_catalog.set_config('pgopt.recounted', {MOMENT}, true)"
"""Says that rows of the source were read in the client's statement: what else it has done to them is not to be added, but read, too."""


@dataclass(frozen=True)
class Key:
    """A column of the target, and the one of the source that has the same value."""

    target: str
    source: str
    type: str
    """Of the target's, with its schema."""


@dataclass(frozen=True)
class Kept:
    """A column that is kept."""

    name: str
    type: str
    full_type: str
    """With its schema, and without what follows it."""
    expression: str
    """As the server writes it, with all names in full."""
    default: str | None = None
    """Where the source has no row, and of the column."""
    merge: str | None = None
    """How a change is added to the value that is there: as a count, sum, min or max; else the rows are read again."""
    comparable: bool = True
    """Whether its values can be compared as they are, and not as text only."""
    empty: str | None = None
    """Of an aggregate, what it is where the source has no rows."""

    @property
    def plain(self) -> bool:
        """Whether it is a column as it is, NULL where the source has no row."""
        is_name = _COLUMN.fullmatch(self.expression) is not None and self.expression not in ("true", "false")
        return self.default is None and is_name

    def same(self, one: Composable, other: Composable) -> Composable:
        """Give the condition that two values of it are the same."""
        text = verbatim("" if self.comparable else "::text")
        return sql("{}{} is not distinct from {}{}", one, text, other, text)


@dataclass(frozen=True)
class Definition:
    """What is kept in a target from a source."""

    tag: str
    target: Relation
    source: Relation
    on: Sequence[Key]
    columns: Sequence[Kept]
    inputs: Sequence[str]
    """The columns of the source that the expressions read."""
    order: Sequence[str]
    """The key of the target, in whose order its rows are locked."""
    aggregate: bool
    guaranteed: bool
    """Whether a foreign key sees to it that no row of the source comes before its row of the target."""
    read_only: bool = False
    deferred: str | None = None
    """When a job folds in what was changed, where the triggers only note it."""
    parted_by: Sequence[str] = ()
    """The columns by which rows of the target go to one of its partitions or another."""

    @property
    def incremental(self) -> bool:
        """Whether all changes can be added to what is there."""
        return self.aggregate and self.deferred is None and all(column.merge for column in self.columns)

    @property
    def one_row(self) -> bool:
        """Whether a key has at most one row in the target."""
        return set(self.order) <= {key.target for key in self.on}

    @property
    def said(self) -> dict[str, Any]:
        """As it is written down; `read` gives it back."""
        names = ("on", "columns", "inputs", "order", "aggregate", "guaranteed", "read_only", "deferred", "parted_by")
        whole = asdict(self)
        return {name: whole[name] for name in names}

    @property
    def wording(self) -> tuple[Any, ...]:
        """What makes two definitions equal, whatever indexes and foreign keys there are."""
        columns = {(each.name, each.type, each.expression, each.default) for each in self.columns}
        on = {(key.target, key.source) for key in self.on}
        return self.source, on, columns, self.aggregate, self.read_only, self.deferred

    @property
    def names(self) -> list[str]:
        """The kept columns."""
        return [column.name for column in self.columns]

    # -- names on the server ---------------------------------------------------------------------------------------------

    def function(self, what: str) -> Composable:
        """Name one of its functions."""
        return ident("pgopt", f"denormal_{self.tag}_{what}")

    @property
    def view(self) -> Composable:
        """The view that shows what is beside what should be; the columns that are read cannot be dropped under it."""
        return ident("pgopt", f"denormal_{self.tag}")

    @property
    def queue(self) -> Composable:
        """The table in which changes wait, where they are folded in later."""
        return ident("pgopt", f"denormal_{self.tag}_queue")

    def trigger(self, what: str) -> Composable:
        """Name one of its triggers."""
        return ident(f"{PREFIX}_{self.tag}_{what}")

    @property
    def number(self) -> Composable:
        """The number by which advisory locks on a key of the target are told from others'.

        It is one for all that is kept by this key: a row that one definition has locked could not be waited for by whoever holds
        the key for another.
        """
        return literal(int(tag_of(self.target, [key.target for key in self.on])[:7], 16))

    # -- pieces of SQL; `t` is a row of the target, `r` one of the source ----------------------------------------------------

    def target_keys(self, of: str) -> list[Composable]:
        """Give the target's columns of the key, of a row."""
        return [sql("{}.{}", verbatim(of), ident(key.target)) for key in self.on]

    @property
    def source_keys(self) -> list[Composable]:
        """The source's columns of the key."""
        return [sql("r.{}", ident(key.source)) for key in self.on]

    @property
    def row_order(self) -> Composable:
        """In which order rows of the target are locked."""
        return joined(sql("t.{}", ident(name)) for name in self.order)

    def value(self, keys: Sequence[Composable]) -> Composable:
        """Give the query for the values that belong to a key: always one row, with columns `c1`, `c2` …"""
        if self.aggregate:
            return sql("select {} from {}", joined(self._results()), self.rows_of(keys))
        match = equal(self.source_keys, keys)
        return sql("select {} from (select) x left join {} r on {}", joined(self._results()), self.source.ident, match)

    @property
    def plain(self) -> bool:
        """Whether columns are copied as they are."""
        return not self.aggregate and all(column.plain for column in self.columns)

    def copied(self, keys: Sequence[Composable]) -> Composable:
        """Give the query for the plain columns that belong to a key; it means the same by any search path."""
        values = joined(sql("r.{}", verbatim(column.expression)) for column in self.columns)
        match = equal(self.source_keys, keys)
        return sql("select {} from (select) x left join {} r on {}", values, self.source.ident, match)

    def rows_of(self, keys: Sequence[Composable]) -> Composable:
        """Give the rows of the source that belong to a key, for FROM."""
        return sql("{} r where {}", self.source.ident, equal(self.source_keys, keys))

    def _results(self) -> list[Composable]:
        return [
            sql("{} as {}", self._result(column), ident(f"c{number}")) for number, column in enumerate(self.columns, 1)
        ]

    def _result(self, column: Kept) -> Composable:
        expression = sql("({})", verbatim(column.expression))
        if self.aggregate or column.default is None:
            return sql("{}::{}", expression, verbatim(column.type))
        return sql(
            "case when {} is null then {} else {} end::{}",
            self.source_keys[0],
            sql("({})", verbatim(column.default)),
            expression,
            verbatim(column.type),
        )

    def as_it_should_be(self, of: str, values: str) -> Composable:
        """Give the condition that a row of the target has the values of a row that `value` gave."""
        return joined(
            (
                column.same(sql("{}.{}", verbatim(of), ident(column.name)), ident(values, f"c{number}"))
                for number, column in enumerate(self.columns, 1)
            ),
            " and ",
        )

    def drifted(self) -> Composable:
        """Give the condition that a row `t` of the target has not the values that it should have, all seen at one moment."""
        return sql(
            "not exists (select from ({}) v where {})",
            self.value(self.target_keys("t")),
            self.as_it_should_be("t", "v"),
        )

    def refill(self, table: Relation, rows: Composable) -> Composable:
        """Set the columns in some rows of the target, or of a partition, each by what the source says when the row is written."""
        # the guard lets pass what says so
        guard = " from (select set_config('pgopt.keeping', 'on', true)) through" if self.read_only else ""
        return sql(
            "update only {} t set ({}) = (select v.* from {}({}) v){} where {}",
            table.ident,
            joined(map(ident, self.names)),
            self.function("value"),
            joined(self.target_keys("t")),
            verbatim(guard),
            rows,
        )


def equal(some: Sequence[Composable], others: Sequence[Composable]) -> Composable:
    """Give the condition that keys are the same, whatever the search path is."""
    return joined(
        (sql("{} operator(pg_catalog.=) {}", one, other) for one, other in zip(some, others, strict=True)), " and "
    )


def unnested(arrays: Sequence[Composable]) -> Composable:
    """Give rows of some arrays, for FROM; the shorter ones give NULLs."""
    return sql("rows from ({})", joined(sql("pg_catalog.unnest({})", each) for each in arrays))


def tag_of(target: Relation, names: Sequence[str]) -> str:
    """Make up a name for what is kept, of eight letters and digits."""
    text = json.dumps([target.schema, target.name, sorted(names)])
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


# -- what the pgopt schema knows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A row of `pgopt.denormalized`."""

    definition: Definition
    filled: bool


_COLUMNS = "tag, target::oid::int8, source::oid::int8, said::text, filled"


def known(db: Catalog, target: Relation) -> list[Known]:
    """Give all that is kept in a table."""
    rows = db.session.rows(
        sql(
            "select {} from pgopt.denormalized where target = {}::oid order by id",
            verbatim(_COLUMNS),
            literal(target.oid),
        )
    )
    return [_known(db, row) for row in rows]


def all_known(db: Catalog) -> list[Known]:
    """Give all that is kept in the database."""
    rows = db.session.rows(
        sql(
            "select {} from pgopt.denormalized d where exists (select from pg_class where oid = target)"
            " and exists (select from pg_class where oid = source) order by id",
            verbatim(_COLUMNS),
        )
    )
    return [_known(db, row) for row in rows]


def _known(db: Catalog, row: Sequence[Any]) -> Known:
    tag, target, source, text, filled = row
    said = json.loads(text)
    on, columns = [Key(**each) for each in said.pop("on")], [Kept(**each) for each in said.pop("columns")]
    return Known(Definition(tag, db.by_oid(target), db.by_oid(source), on, columns, **said), filled)
