"""Columns of live tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from functools import partial
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation
from pgopt.operations.base import Action, operation
from pgopt.plan.step import BatchStep
from pgopt.server.catalog import above
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog, Relation


@operation("backfill")
class Backfill(Action):
    """Set columns in all rows, or in those of ``where``, in batches by key while the table is in use.

    Takes ROW EXCLUSIVE, as any UPDATE, and row locks for a fraction of a second. Each batch is a transaction of its own,
    which also records how far it came: an interrupted backfill goes on where it stopped, with no row done twice and none
    skipped. Rows that are inserted meanwhile, or whose key changes, are the affair of a default or a trigger. Needs
    `install_pgopt`::

        op.backfill("tickets", set={"priority": "coalesce(priority, 'LOW')"}, where="priority is null")

    Values are SQL expressions of the row. ``key`` says by which columns to go, instead of the primary key.
    """

    table: str
    set: Mapping[str, Any]
    _: KW_ONLY
    where: Any = None
    key: Sequence[str] = ()
    schema: str | None = None

    def check(self) -> None:
        if not self.set:
            raise InvalidOperation(f"backfill of {self.table} sets nothing: set={{'column': 'expression'}}")

    def plan(self, db: Catalog) -> Iterator[BatchStep]:
        root = db.table(self.table, self.schema)
        self._check_columns(db, root)
        parts = db.partitions(root)
        for table in [root] if not root.partitioned else [part for part in parts if part.kind == "r"]:
            yield BatchStep(
                f"backfill {', '.join(self.set)} of {table}",
                table,
                self._key(db, table),
                partial(self._update, table),
                locks=[
                    Lock(Mode.ROW_EXCLUSIVE, table.name, table.schema),
                    # to see that the rows still belong there
                    *(Lock(Mode.ACCESS_SHARE, each.name, each.schema) for each in above(table, [root, *parts])),
                ],
            )

    def _update(self, table: Relation, rows: Composable) -> Composable:
        values = joined(sql("{} = {}", ident(name), _expression(value)) for name, value in self.set.items())
        where = sql(" and ({})", verbatim(self.where)) if self.where is not None else verbatim("")
        return sql("update only {} set {} where {}{}", table.ident, values, rows, where)

    def _key(self, db: Catalog, table: Relation) -> Sequence[str]:
        if self.key or not db.online:
            return self.key
        key = db.key_of(table)
        if key is None:
            raise InvalidOperation(
                f"{table} has no primary key and no unique index without NULLs to go by: say key=[...] with indexed columns"
                " that tell its rows apart"
            )
        return key

    def _check_columns(self, db: Catalog, table: Relation) -> None:
        if not db.online:
            return
        columns = {column.name: column for column in db.columns(table)}
        for name in [*self.set, *self.key]:
            if name not in columns:
                raise InvalidOperation(f"{table} has no column {name!r}: it has {', '.join(columns)}")
        for name in self.set:
            if columns[name].generated:
                raise InvalidOperation(f"column {name!r} of {table} is generated: change its expression")
            if name in self._key_columns(db, table):
                raise InvalidOperation(f"column {name!r} is part of the key by which batches go through {table}")

    def _key_columns(self, db: Catalog, table: Relation) -> Sequence[str]:
        return self.key or db.key_of(table) or ()


def _expression(value: Any) -> Composable:
    return verbatim(value) if isinstance(value, str) else literal(value)
