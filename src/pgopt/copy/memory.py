"""What a table was before it was partitioned, as the pgopt schema remembers it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pgopt.copy.incoming import add, drop, remembered
from pgopt.copy.shape import (
    QUALIFIED,
    Index,
    foreign_keys_to,
    indexes_of,
)
from pgopt.errors import InvalidOperation
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


def was(db: Catalog, table: Relation, column: str) -> dict[str, Any]:
    """Write down what of a table its partitioned form does not tell."""
    with db.session.rolled_back():
        db.session.run(QUALIFIED)
        found, incoming = indexes_of(db, table), foreign_keys_to(db, table)
        keys = {
            index.name: {"constraint": index.constraint, "tail": index.tail}
            for index in found
            if index.widened(column) != index
        }
    return {
        "keys": keys,
        "key": db.key_of(table),
        "incoming": [remembered(key) for key in incoming],
        "storage": storage_of(db, table),
    }


def storage_of(db: Catalog, table: Relation) -> list[str]:
    """Give the storage parameters of a table as they are written in WITH."""
    row = db.session.value(
        sql(
            "select coalesce(c.reloptions, array[]::text[])"
            " || array(select 'toast.' || o from pg_class t, unnest(t.reloptions) o where t.oid = c.reltoastrelid)"
            " from pg_class c where c.oid = {}",
            literal(table.oid),
        )
    )
    return list(row)


@dataclass(frozen=True)
class Memory:
    """What `pgopt.partitioned` knows of a table."""

    by: dict[str, Any]
    premake: int
    was: dict[str, Any]
    plain: int | None = None
    attached: bool = False

    @classmethod
    def of(cls, db: Catalog, table: Relation) -> Memory | None:
        """Read what is known of a table."""
        row = db.session.row(
            sql(
                "select by::text, premake, was::text, plain::oid::int8, attached from pgopt.partitioned where relation = {}::oid",
                literal(table.oid),
            )
        )
        return row and cls(json.loads(row[0]), row[1], json.loads(row[2]), row[3], row[4])

    @classmethod
    def native(cls, db: Catalog, table: Relation) -> Memory:
        """Say what is to be known of a table that pgopt has not partitioned."""
        columns = db.session.rows(
            sql(
                "select a.attname from pg_partitioned_table p, unnest(p.partattrs::int2[]) k (n)"
                " left join pg_attribute a on a.attrelid = {} and a.attnum = k.n where p.partrelid = {}",
                literal(table.oid),
                literal(table.oid),
            )
        )
        if len(columns) != 1 or columns[0][0] is None:
            raise InvalidOperation(
                f"{table} is partitioned by more than one column, or by an expression: that cannot be undone"
            )
        leaf = next((each for each in db.descendants(table) if each.kind == "r"), None)
        storage = storage_of(db, leaf) if leaf else []
        return cls({"column": columns[0][0]}, 0, {"keys": {}, "key": None, "incoming": [], "storage": storage})

    def key(self, db: Catalog, table: Relation) -> Sequence[str]:
        """Give the columns that tell the rows apart."""
        found = self.was["key"] or db.key_of(table)
        if not found:
            raise InvalidOperation(f"{table} has no primary key, by which its rows are told apart: add one first")
        return found

    def narrowed(self, index: Index) -> Index:
        """Give an index as it was."""
        known = self.was["keys"].get(index.name)
        return replace(index, constraint=known["constraint"], tail=known["tail"]) if known else index

    def write(self, table: Relation, *, plain: int | None, attached: bool = False) -> Composable:
        """Remember it."""
        return sql(
            "insert into pgopt.partitioned (relation, by, premake, was, plain, attached) values ({}, {}, {}, {}, {}::oid, {})",
            *map(
                literal,
                (table.oid, json.dumps(self.by), self.premake, json.dumps(self.was), plain, attached),
            ),
        )

    def locks_on_incoming(self, db: Catalog, table: Relation) -> list[Lock]:
        """Give the locks on the tables that get foreign keys back, beside the table itself and those that refer to it now."""
        others = [(table.name, table.schema), *((key.table, key.schema) for key in foreign_keys_to(db, table))]
        names = [(key["table"], key["schema"]) for key in self.was["incoming"]]
        return [Lock(Mode.SHARE_ROW_EXCLUSIVE, *name) for name in names if name not in others]

    def widen(self, db: Catalog) -> Iterator[Composable]:
        """Let foreign keys refer to the partitions' column, too, where that is wanted."""
        for key in self.was["incoming"]:
            if "widened" in key:
                yield from add(db, key, key["widened"])

    def drop_widened(self, db: Catalog) -> Iterator[Composable]:
        """Drop those again, as far as they are there."""
        for key in self.was["incoming"]:
            owner = db.relation(key["table"], key["schema"])
            if "widened" in key and owner is not None and db.constraint(owner, key["name"]) is not None:
                yield from drop([key])

    def give_back(self, db: Catalog, *, table: Relation) -> Iterator[Composable]:
        """Give back what was dropped for the partitions' sake, and forget."""
        for key in self.was["incoming"]:
            yield from add(db, key, key["definition"])
        yield sql("delete from pgopt.partitioned where relation = {}::oid", literal(table.oid))
