"""What there is in a database, as the catalog describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.server.quoting import ident

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg.sql import Composable

KINDS = {
    "r": "table",
    "p": "partitioned table",
    "i": "index",
    "I": "partitioned index",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "t": "TOAST table",
    "c": "type",
}


@dataclass(frozen=True)
class Relation:
    """A table, an index or another thing in pg_class."""

    oid: int
    schema: str | None
    name: str
    kind: str
    parent: int | None = None

    @property
    def ident(self) -> Composable:
        """The quoted, qualified name."""
        return ident(self.schema, self.name)

    @property
    def named(self) -> TableNamed:
        """What it is called, to be looked up again."""
        return TableNamed(self.name, self.schema)

    @property
    def partitioned(self) -> bool:
        """Whether this is a partitioned table or index."""
        return self.kind in "pI"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def above(part: Relation, tree: Sequence[Relation]) -> Iterator[Relation]:
    """Give the parents of a partition up to the root."""
    known = {each.oid: each for each in tree}
    while part.parent is not None and (parent := known.get(part.parent)) is not None:
        yield parent
        part = parent


@dataclass(frozen=True)
class TableNamed:
    """A table by the name that a migration says, which is looked up through the search path where no schema is said."""

    name: str
    schema: str | None = None
    index: str | None = None
    """The name of an index that is asked for as soon as the table is known."""
    may_be_missing: bool = False
    """Whether it may come about only now."""

    @property
    def ident(self) -> Composable:
        """The quoted name, with the schema where one is said."""
        return ident(self.schema, self.name)


@dataclass(frozen=True)
class IndexInfo(Relation):
    """An index, with what decides whether it may go."""

    table: int = 0
    valid: bool = True
    comment: str | None = None
    constraint: str | None = None
    replica_identity: bool = False
    clustered: bool = False
    definition: str = ""
    built_by: int | None = None
    referenced_by: str | None = None
    statistics: bool = False
    unique: bool = False
    storage: str | None = None
    tablespace: str | None = None
    extension: str | None = None
    """One without which it would not be there."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    type: str
    not_null: bool
    generated: str
    identity: str


@dataclass(frozen=True)
class ColumnShape:
    """What a column is, or would be."""

    type: str
    collation: str
    default: str | None
    generated: str
    identity: str
    not_null: bool
    serial: bool
    rewrites: bool = False
    """Whether adding it with its default makes all rows anew."""
    rewrites_bare: bool = False
    """Whether adding it without a default does."""

    @property
    def definition(self) -> tuple[str | None, ...]:
        """What makes two columns equal, whether they may be NULL or not."""
        return self.type, self.collation, self.default, self.generated, self.identity

    def __str__(self) -> str:
        default = f" default {self.default}" if self.default is not None and not self.generated else ""
        generated = f" generated always as ({self.default})" if self.generated else ""
        identity = " generated as identity" if self.identity else ""
        return f"{self.type}{default}{generated}{identity}{' not null' if self.not_null else ''}, collation {self.collation}"


@dataclass(frozen=True)
class Constraint:
    """A constraint of a table."""

    oid: int
    name: str
    kind: str
    valid: bool
    definition: str
    deferrable: bool
    deferred: bool
    inherited: bool
    local: bool
    columns: Sequence[str] | None
    referent: int | None
    referent_columns: Sequence[str] | None
    on_delete: str
    on_update: str
    match: str
    comment: str | None
    special: bool
    """Whether it has what no operation can say: SET NULL of some columns, PERIOD, NOT ENFORCED."""


@dataclass(frozen=True)
class Storage:
    """What is set of a table, an index or a materialized view; of its TOAST table by names with ``toast.``."""

    relation: Relation
    parameters: Mapping[str, str]
    has_toast: bool


@dataclass(frozen=True)
class Statistics:
    """Extended statistics."""

    table: int
    shape: str
    """What they are about, as the server understands it, without the names of statistics and table."""
    definition: str
    comment: str | None
    target: int | None
    others: str | None = None
    """Who owns them, where it is not the role that asks."""


@dataclass(frozen=True)
class Extension:
    """An extension."""

    name: str
    schema: str
    version: str
    comment: str | None
    relations: Sequence[int]
    """Its own tables and views."""
    with_rows: Sequence[int]
    """Those whose rows are the application's."""
