"""Unique constraints and primary keys of live tables: the index is built concurrently, then made the constraint's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, LiteralString

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import constraint_steps, index_trees
from pgopt.operations import key_steps as steps
from pgopt.operations.base import StateOperation, operation, other
from pgopt.operations.indexes import CreateIndexConcurrently
from pgopt.server.quoting import check_name, ident, joined, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.plan.step import Step
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True, repr=False)
class KeyOperation(StateOperation):
    """A unique constraint or primary key by its name, table and columns."""

    kind: ClassVar[LiteralString]

    name: str
    table: str
    columns: Sequence[str] = ()
    _: KW_ONLY
    include: Sequence[str] = ()
    deferrable: bool = False
    initially_deferred: bool = False
    schema: str | None = None

    def check(self) -> None:
        check_name(self.name, f"a constraint of {self.table}")
        for what in ("columns", "include"):
            if isinstance(getattr(self, what), str):
                raise InvalidOperation(
                    f"{what}={getattr(self, what)!r} of {self.name} is one text: write a list of columns"
                )
        constraint_steps.check_timing(self)

    @property
    def words(self) -> LiteralString:
        """What stands before the columns."""
        return self.kind

    @property
    def definition(self) -> Composable:
        """The constraint with its columns."""
        include = sql(" include ({})", joined(map(ident, self.include))) if self.include else verbatim("")
        columns = joined(map(ident, self.columns))
        return sql("{} ({}){}{}", verbatim(self.words), columns, include, constraint_steps.timing(self))

    def index(self, name: str, table: Relation, **more: Any) -> CreateIndexConcurrently:
        """Give the index that becomes the constraint's."""
        columns, include = ([render(ident(column)) for column in columns] for columns in (self.columns, self.include))
        return CreateIndexConcurrently(
            name, table.name, columns, unique=True, include=include, schema=table.schema, **more
        )

    def create(self, db: Catalog) -> Iterator[Step]:
        """Give the steps that add the constraint."""
        table = constraint_steps.table_of(db, self.table, self.schema)
        constraint_steps.same_or_refuse(db, self.name, table, self.definition)
        yield from steps.create(db, self, table)

    def drop(self, db: Catalog) -> Iterator[Step]:
        """Give the steps that drop the constraint, or what an interrupted run has left of it."""
        table = constraint_steps.table_of(db, self.table, self.schema)
        if self.columns:
            constraint_steps.same_or_refuse(db, self.name, table, self.definition)
        if db.online:
            steps.refuse_to_drop(db, self, table)
        yield from steps.drop(db, self, table)

    def names_to_lose(self, db: Catalog) -> Sequence[str]:
        """Say which names of partitions' constraints would not come back."""
        table = constraint_steps.table_of(db, self.table, self.schema)
        if not self.columns or not table.partitioned:
            return ()
        return index_trees.note_names(index_trees.names_not_ours(db, self.name, table), "constraints")

    def refuse_without_columns(self) -> None:
        """Refuse to be undone where nobody has said how."""
        if not self.columns:
            raise NotReversible(f"{self.title}: say the columns, so that it can be made again")


@dataclass(frozen=True, repr=False)
class UniqueOperation(KeyOperation):
    """A unique constraint."""

    kind = "unique"

    nulls_not_distinct: bool = field(default=False, kw_only=True)

    @property
    def words(self) -> LiteralString:
        return "unique nulls not distinct" if self.nulls_not_distinct else "unique"

    def index(self, name: str, table: Relation, **more: Any) -> CreateIndexConcurrently:
        """Give the index that becomes the constraint's."""
        return super().index(name, table, nulls_not_distinct=self.nulls_not_distinct, **more)


@operation("create_unique_constraint_online")
class CreateUniqueConstraintOnline(UniqueOperation):
    """Add a unique constraint while the table is in use.

    The index is built concurrently, then made the constraint's (ACCESS EXCLUSIVE for an instant). Where keys are there more
    than once, the error says how many and shows some, and nothing is left behind. On a partitioned table, at any depth, the
    columns must contain those of the partition key; each partition gets its constraint so, then the parent adopts it::

        op.create_unique_constraint_online("uq_articles_slug", "articles", ["slug"])
    """

    columns: Sequence[str] = field()

    def reverse(self) -> DropUniqueConstraintOnline:
        return other(DropUniqueConstraintOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        yield from self.create(db)


@operation("drop_unique_constraint_online")
class DropUniqueConstraintOnline(UniqueOperation):
    """Drop a unique constraint with its index.

    Takes ACCESS EXCLUSIVE for an instant, on a partitioned table on all partitions. With the columns, and what else
    `create_unique_constraint_online` would say, it can be undone; the constraint that is there must then be equal to it::

        op.drop_unique_constraint_online("uq_articles_slug", "articles", ["slug"])
    """

    def reverse(self) -> CreateUniqueConstraintOnline:
        self.refuse_without_columns()
        return other(CreateUniqueConstraintOnline, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        return self.names_to_lose(db)

    def plan(self, db: Catalog) -> Iterator[Step]:
        yield from self.drop(db)


@dataclass(frozen=True, repr=False)
class PrimaryKeyOperation(KeyOperation):
    """A primary key."""

    kind = "primary key"


@operation("create_primary_key_online")
class CreatePrimaryKeyOnline(PrimaryKeyOperation):
    """Add a primary key while the table is in use, as `create_unique_constraint_online`.

    Its columns must be NOT NULL already (`set_not_null_online`), so that dropping the key gives back what was there. On a
    partitioned table PostgreSQL 18 makes that NOT NULL the partitions' own, as pg_restore does: they keep it when the
    parent's is dropped::

        op.create_primary_key_online("events_pkey", "events", ["id"])
    """

    columns: Sequence[str] = field()

    def reverse(self) -> DropPrimaryKeyOnline:
        return other(DropPrimaryKeyOnline, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        table = constraint_steps.table_of(db, self.table, self.schema)
        if not table.partitioned or db.version < 180000:
            return ()
        return [
            "the partitions get a NOT NULL of their own on the key's columns, and keep it when the parent's is dropped"
        ]

    def plan(self, db: Catalog) -> Iterator[Step]:
        if db.online:
            table = constraint_steps.table_of(db, self.table, self.schema)
            steps.refuse_nullable(db, table, self.columns)
            steps.refuse_second(db, table, self.name)
        yield from self.create(db)


@operation("drop_primary_key_online")
class DropPrimaryKeyOnline(PrimaryKeyOperation):
    """Drop a primary key with its index; its columns stay NOT NULL.

    Takes ACCESS EXCLUSIVE for an instant, on a partitioned table on all partitions. With the columns it can be undone; the
    key that is there must then have them::

        op.drop_primary_key_online("events_pkey", "events", ["id"])
    """

    def reverse(self) -> CreatePrimaryKeyOnline:
        self.refuse_without_columns()
        return other(CreatePrimaryKeyOnline, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        return self.names_to_lose(db)

    def plan(self, db: Catalog) -> Iterator[Step]:
        yield from self.drop(db)


@operation("replace_primary_key_online")
class ReplacePrimaryKeyOnline(StateOperation):
    """Give a primary key other columns under its name, with never a moment without a key.

    The new unique index is built concurrently beside the key; then, in one short transaction (ACCESS EXCLUSIVE for an
    instant), the old key goes and the new index becomes the key's. Comments, storage parameters, tablespace, the cluster
    mark and the replica identity stay, and the names on the partitions of a partitioned table. Foreign keys that refer to the old key, and views that rest on it, are an error
    that names them. ``old`` is what the key is now; undone, it is the key again, unless it has duplicates by then::

        op.replace_primary_key_online("tickets_pkey", "tickets", ["id", "created_at"], old=["id"])
    """

    name: str
    table: str
    columns: Sequence[str]
    _: KW_ONLY
    old: Sequence[str]
    schema: str | None = None

    def check(self) -> None:
        for each in self._key(self.columns), self._key(self.old):
            if not each.columns:
                raise InvalidOperation(f"{self.title}: write a list of columns, and old= with those of the key now")
        if self.columns == self.old:
            raise InvalidOperation(f"{self.title}: old= has the same columns")

    def reverse(self) -> ReplacePrimaryKeyOnline:
        return replace(self, columns=self.old, old=self.columns)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = constraint_steps.table_of(db, self.table, self.schema)
        yield from steps.replace_key(db, self._key(self.columns), self._key(self.old), table)

    def _key(self, columns: Sequence[str]) -> CreatePrimaryKeyOnline:
        return CreatePrimaryKeyOnline(self.name, self.table, columns, schema=self.schema)
