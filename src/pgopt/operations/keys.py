"""Unique constraints and primary keys of live tables: the index is built concurrently, then made the constraint's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import constraint_steps as steps
from pgopt.operations import index_steps
from pgopt.operations.base import StateOperation, operation, other
from pgopt.operations.indexes import CreateIndexConcurrently
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import check_name, ident, joined, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog, Relation


@dataclass(frozen=True, repr=False)
class KeyOperation(StateOperation):
    """A unique constraint or primary key by its name, table and columns."""

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
        if isinstance(self.columns, str):
            raise InvalidOperation(f"columns={self.columns!r} of {self.name} is one text: write a list of columns")
        steps.check_timing(self)

    def definition(self, words: Composable) -> Composable:
        """Write the constraint with its columns."""
        include = sql(" include ({})", joined(map(ident, self.include))) if self.include else verbatim("")
        return sql("{} ({}){}{}", words, joined(map(ident, self.columns)), include, steps.timing(self))

    def build(self, table: Relation) -> Step:
        """Build the index concurrently, under the constraint's name."""
        if table.partitioned:
            raise InvalidOperation(f"{table} is partitioned: create a unique index with its partition key instead")
        unique = CreateIndexConcurrently(
            self.name,
            self.table,
            self.columns,
            unique=True,
            include=self.include,
            schema=self.schema,
            **self.index_options(),
        )
        step = steps.unless(
            index_steps.build(unique, self.name, table), partial(steps.has, name=self.name, table=table)
        )
        return replace(step, explain=partial(steps.duplicates, table=table, columns=self.columns))

    def index_options(self) -> dict[str, Any]:
        """Give what else the index says."""
        return {}

    def use(self, words: Composable, table: Relation) -> Step:
        """Make the index the constraint's."""
        return Step(
            f"make the index {self.name} the constraint's",
            sql(
                "alter table {} add constraint {} {} using index {}{}",
                table.ident,
                ident(self.name),
                words,
                ident(self.name),
                steps.timing(self),
            ),
            locks=[Lock(Mode.ACCESS_EXCLUSIVE, table.name, table.schema)],
            done=partial(steps.has, name=self.name, table=table),
        )


UNIQUE = "unique"
PRIMARY_KEY = "primary key"


@operation("create_unique_constraint_online")
class CreateUniqueConstraintOnline(KeyOperation):
    """Add a unique constraint while the table is in use.

    The index is built concurrently, then made the constraint's (ACCESS EXCLUSIVE for an instant). Where keys are there more
    than once, the error says how many and shows some, and nothing is left behind::

        op.create_unique_constraint_online("uq_articles_slug", "articles", ["slug"])
    """

    columns: Sequence[str] = field()
    nulls_not_distinct: bool = field(default=False, kw_only=True)

    def reverse(self) -> DropUniqueConstraintOnline:
        return other(DropUniqueConstraintOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        steps.same_or_refuse(db, self.name, table, self.definition(_unique(self)))
        yield self.build(table)
        yield self.use(verbatim(UNIQUE), table)

    def index_options(self) -> dict[str, Any]:
        return {"nulls_not_distinct": self.nulls_not_distinct}


@operation("drop_unique_constraint_online")
class DropUniqueConstraintOnline(KeyOperation):
    """Drop a unique constraint with its index.

    Takes ACCESS EXCLUSIVE for an instant. With the columns, and what else `create_unique_constraint_online` would say, it
    can be undone; the constraint that is there must then be equal to it::

        op.drop_unique_constraint_online("uq_articles_slug", "articles", ["slug"])
    """

    nulls_not_distinct: bool = field(default=False, kw_only=True)

    def reverse(self) -> CreateUniqueConstraintOnline:
        if not self.columns:
            raise NotReversible(f"{self.title}: say the columns, so that it can be made again")
        return other(CreateUniqueConstraintOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if self.columns:
            steps.same_or_refuse(db, self.name, table, self.definition(_unique(self)))
        yield from _drop_key(self, db, table)


def _unique(of: CreateUniqueConstraintOnline | DropUniqueConstraintOnline) -> Composable:
    return verbatim(UNIQUE + (" nulls not distinct" if of.nulls_not_distinct else ""))


@operation("create_primary_key_online")
class CreatePrimaryKeyOnline(KeyOperation):
    """Add a primary key while the table is in use, as `create_unique_constraint_online`.

    Its columns must be NOT NULL already (`set_not_null_online`), so that dropping the key gives back what was there::

        op.create_primary_key_online("events_pkey", "events", ["id"])
    """

    columns: Sequence[str] = field()

    def reverse(self) -> DropPrimaryKeyOnline:
        return other(DropPrimaryKeyOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        steps.same_or_refuse(db, self.name, table, self.definition(verbatim(PRIMARY_KEY)))
        if db.online:
            _refuse_nullable(db, table, self.columns)
        yield self.build(table)
        yield self.use(verbatim(PRIMARY_KEY), table)


@operation("drop_primary_key_online")
class DropPrimaryKeyOnline(KeyOperation):
    """Drop a primary key with its index; its columns stay NOT NULL.

    Takes ACCESS EXCLUSIVE for an instant. With the columns it can be undone; the key that is there must then have them::

        op.drop_primary_key_online("events_pkey", "events", ["id"])
    """

    def reverse(self) -> CreatePrimaryKeyOnline:
        if not self.columns:
            raise NotReversible(f"{self.title}: say the columns, so that it can be made again")
        return other(CreatePrimaryKeyOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if self.columns:
            steps.same_or_refuse(db, self.name, table, self.definition(verbatim(PRIMARY_KEY)))
        yield from _drop_key(self, db, table)


def _refuse_nullable(db: Catalog, table: Relation, columns: Sequence[str]) -> None:
    for name in columns:
        if not db.column(table, name).not_null:
            raise InvalidOperation(
                f"column {name!r} of {table} may be NULL: op.set_not_null_online({table.name!r}, {name!r}) first"
            )


def _drop_key(of: KeyOperation, db: Catalog, table: Relation) -> Iterator[Step]:
    """Drop a key with its index, or the index that an interrupted run has left."""
    if not steps.has(db, name=of.name, table=table) and db.index(of.name, table.schema) is not None:
        yield index_steps.drop(of.name, table)
    else:
        index = Lock(Mode.ACCESS_EXCLUSIVE, of.name, table.schema, is_index=True)
        yield steps.drop(of.name, [table], also=[index])
