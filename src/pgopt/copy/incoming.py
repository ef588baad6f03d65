"""Foreign keys that refer to a table while it changes its form: dropped, widened by the partitions' column, and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgopt.copy.shape import closing
from pgopt.server.quoting import ident, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
