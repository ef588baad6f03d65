"""Tables that are partitioned from their first day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateTable, SchemaItem

from pgopt.copy.by import Partitioning
from pgopt.copy.layout import Layout
from pgopt.copy.memory import Memory
from pgopt.copy.move import locks_on_sequences
from pgopt.copy.pieces import refuse_split
from pgopt.copy.shape import tree
from pgopt.errors import InvalidOperation
from pgopt.operations.base import StateOperation, operation, other
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import check_name, ident, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True, repr=False)
class NewTableOperation(StateOperation):
    """A table that is made with its partitions."""

    name: str
    columns: Sequence[Any]
    by: Partitioning
    _: KW_ONLY
    premake: int = 3
    default: bool = False
    schema: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(_in_words(self.name, self.columns)))
        super().__post_init__()

    def check(self) -> None:
        check_name(self.name, "the table")
        if not self.columns:
            raise InvalidOperation(f"{self.name} has no columns: say them as for op.create_table, or as text")
        if not isinstance(self.by, Partitioning):
            raise InvalidOperation(f"by={self.by!r} of {self.name}: say Monthly('created_at'), or another such")

    def there(self, db: Catalog) -> Relation | None:
        """Look up the table, and refuse one that is something else."""
        db.require_pgopt()
        found = db.relation(self.name, self.schema)
        if found is None:
            return None
        memory = Memory.of(db, found)
        if memory is None or not found.partitioned or memory.by != self.by.described(db, found):
            raise InvalidOperation(
                f"there is another {self.name!r}: rename it, or partition it with op.partition_table"
            )
        return found


@operation("create_partitioned_table")
class CreatePartitionedTable(NewTableOperation):
    """Create a table with its partitions: those of today and ``premake`` more.

    The columns and constraints are SQLAlchemy's, as for ``op.create_table``, or SQL as in CREATE TABLE; keys must contain the
    column of ``by``. Add foreign keys with `create_foreign_key_online`, and indexes as on any table. Locks nothing that is
    there. More partitions are made by ``pgopt.maintain_partitions()``. Needs `install_pgopt`::

        op.create_partitioned_table(
            "events", ["id uuid", "at timestamptz", "kind text", "primary key (id, at)"], Monthly("at")
        )
    """

    columns: Sequence[Any] = field()

    def reverse(self) -> DropPartitionedTable:
        return other(DropPartitionedTable, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        self.there(db)
        yield Step(f"create {self.name} with its partitions", self._create, done=lambda db: self.there(db) is not None)

    def _create(self, db: Catalog) -> Iterator[Composable]:
        yield sql(
            "create table {} ({}) partition by {}",
            ident(self.schema, self.name),
            verbatim(", ".join(self.columns)),
            self.by.clause(),
        )
        table = db.table(self.name, self.schema)
        said = self.by.described(db, table)
        layout = Layout(table, self.by, said, self.premake, None, default=self.default)
        for name, bound in layout.first(db):
            yield sql("create table {} partition of {} {}", ident(table.schema, name), table.ident, bound)
        was: dict[str, Any] = {"keys": {}, "key": None, "incoming": [], "storage": []}
        yield Memory(said, self.premake, was).write(table, plain=None)


@operation("drop_partitioned_table")
class DropPartitionedTable(NewTableOperation):
    """Drop a table with its partitions, as long as it has no rows; one with rows is refused.

    Takes ACCESS EXCLUSIVE on the table and its partitions for an instant. Its inverse makes it with the arguments of
    `create_partitioned_table`::

        op.drop_partitioned_table(
            "events", ["id uuid", "at timestamptz", "kind text", "primary key (id, at)"], Monthly("at")
        )
    """

    columns: Sequence[Any] = field()

    def reverse(self) -> CreatePartitionedTable:
        return other(CreatePartitionedTable, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = self.there(db)
        if table is None:
            return
        self._refuse_rows(db, table)
        refuse_split(db, table)
        tables = tree(db, table)
        yield Step(
            f"drop {table} with its partitions",
            lambda db: self._drop(db, table),
            locks=[
                *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in tables),
                *(
                    Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True)
                    for each in db.indexes_on(*tables)
                ),
                *locks_on_sequences(db, table),
            ],
            done=lambda db: self.there(db) is None,
        )

    def _drop(self, db: Catalog, table: Relation) -> Iterator[Composable]:
        self._refuse_rows(db, table)
        yield sql("delete from pgopt.partitioned where relation = {}::oid", literal(table.oid))
        yield sql("drop table {}", table.ident)

    def _refuse_rows(self, db: Catalog, table: Relation) -> None:
        if db.has_rows(table):
            raise InvalidOperation(
                f"{table} has rows, which would be lost: delete them, or say op.drop_table({self.name!r}{self.schema_too})"
            )


def _in_words(name: str, columns: Sequence[Any]) -> Iterator[Any]:
    """Write SQLAlchemy's columns and constraints as they stand in CREATE TABLE; text stays as it is."""
    items = [each for each in columns if isinstance(each, SchemaItem)]
    yield from (each for each in columns if not isinstance(each, SchemaItem))
    if not items:
        return
    # a copy of a column that is another table's already
    copies = (each._copy() if isinstance(each, Column) and each.table is not None else each for each in items)
    table = Table(name, MetaData(), *copies)
    beside = [f"the comment on {each.name}" for each in table.columns if each.comment]
    beside += [f"the index on {', '.join(each.columns.keys())}" for each in table.indexes]
    if beside:
        raise InvalidOperation(f"{beside[0]} of {name} is not part of CREATE TABLE: make it by an operation of its own")
    text = str(CreateTable(table).compile(dialect=PGDialect(paramstyle="named")))  # type: ignore[no-untyped-call]
    body = text[text.index("(", text.index("CREATE TABLE") + len(_quoted(name))) + 1 : text.rindex(")")]
    yield from (line.strip() for line in body.strip().split(", \n"))


def _quoted(name: str) -> str:
    """Give a name as SQLAlchemy writes it."""
    return str(PGDialect().identifier_preparer.quote(name))  # type: ignore[no-untyped-call]
