"""Foreign keys of and to a table while it changes its form: dropped, widened by the partitions' column, and given back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgopt.copy.shape import closing, foreign_keys_of, foreign_keys_to, tree
from pgopt.server.quoting import ident, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from psycopg.sql import Composable

    from pgopt.copy.shape import ForeignKey
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


def remembered(key: ForeignKey) -> dict[str, Any]:
    """Say what a foreign key is, for the way back."""
    return {
        "schema": key.schema,
        "table": key.table,
        "name": key.name,
        "definition": key.definition,
        "columns": list(key.columns),
        "referent_columns": list(key.referent_columns),
        "match": key.match,
        "comment": key.comment,
    }


def widened(key: Mapping[str, Any], column: str, by: str | None) -> str:
    """Give the definition with one more column on each side, unless the foreign key refers to that column already.

    With MATCH FULL: under the simple one, a row without the new column could refer to what is not there.
    """
    definition = str(key["definition"])
    if by is None:
        return definition
    first = closing(definition)
    second = first + 1 + closing(definition[first + 1 :])
    ours, theirs = (render(ident(each)) for each in (by, column))
    full = "" if key["match"] == "f" else " MATCH FULL"
    return f"{definition[:first]}, {ours}{definition[first:second]}, {theirs}){full}{definition[second + 1 :]}"


def drop(keys: Iterable[Mapping[str, Any]]) -> Iterator[Composable]:
    """Drop foreign keys."""
    for key in keys:
        yield sql("alter table {} drop constraint {}", ident(key["schema"], key["table"]), ident(key["name"]))


def add(db: Catalog, key: Mapping[str, Any], definition: str) -> Iterator[Composable]:
    """Add a foreign key for new rows, with its comment."""
    yield from add_foreign_key(db, db.table(key["table"], key["schema"]), key["name"], definition, key.get("comment"))


def add_foreign_key(
    db: Catalog, table: Relation, name: str, definition: str, comment: str | None
) -> Iterator[Composable]:
    """Add a foreign key for new rows; before 18 to each partition, which the parent adopts when they are valid."""
    split = table.partitioned and db.version < 180000
    for each in [leaf for leaf in db.descendants(table) if leaf.kind == "r"] if split else [table]:
        yield sql("alter table {} add constraint {} {} not valid", each.ident, ident(name), verbatim(definition))
        if comment is not None:
            yield sql("comment on constraint {} on {} is {}", ident(name), each.ident, literal(comment))


@dataclass(frozen=True)
class ForeignKeys:
    """All foreign keys of a partitioned table and to it, which would be checked when a partition comes or goes.

    So they are dropped before, and made for new rows only after; then the rows are checked while the table is in use.
    """

    keys: Sequence[ForeignKey]

    @classmethod
    def of(cls, db: Catalog, table: Relation, parts: Sequence[Relation] = ()) -> ForeignKeys:
        """Read them; of partitions, too, to which alone an interrupted run may have left those of the table."""
        found = [key for each in (table, *parts) for key in (*foreign_keys_of(db, each), *foreign_keys_to(db, each))]
        return cls(list({(key.owner, key.name): key for key in found}.values()))

    def referencing(self, db: Catalog) -> list[Relation]:
        """Give the tables that have them."""
        return [db.by_oid(key.owner) for key in self.keys]

    def referents(self, db: Catalog) -> list[Relation]:
        """Give the tables to which they refer, with their partitions."""
        return [each for key in self.keys for each in tree(db, db.by_oid(key.referent))]

    def drop(self) -> Iterator[Composable]:
        """Drop them."""
        for key in self.keys:
            yield sql("alter table {} drop constraint {}", ident(key.schema, key.table), ident(key.name))

    def add(self, db: Catalog) -> Iterator[Composable]:
        """Add them for new rows."""
        for key in self.keys:
            yield from add_foreign_key(db, db.by_oid(key.owner), key.name, key.definition, key.comment)
