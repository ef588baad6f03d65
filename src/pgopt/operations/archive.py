"""Tables to which rows are archived: made like those from which they come, and dropped without losing any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pgopt.copy.by import Partitioning
from pgopt.copy.pieces import refuse_split
from pgopt.copy.shape import tree, without_defaults
from pgopt.errors import InvalidOperation, NeedsDatabase
from pgopt.operations import archive_partitions
from pgopt.operations.base import StateOperation, operation, other
from pgopt.operations.retention import regclass
from pgopt.plan.step import DrainStep, Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import Relation
from pgopt.server.quoting import check_name, ident, joined, literal, name_of, options, sql
from pgopt.server.unseen import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.plan.step import AnyStep
    from pgopt.server.catalog import Catalog


@dataclass(frozen=True, repr=False)
class ArchiveOperation(StateOperation):
    """A table for the old rows of another."""

    table: str
    name: str | None = None
    _: KW_ONLY
    storage: Mapping[str, Any] | None = None
    by: Partitioning | None = None
    premake: int = 3
    start: str | None = None
    widen_keys: bool = False
    rows: Literal["restore", "leave"] | None = None
    archive_schema: str | None = None
    schema: str | None = None

    def check(self) -> None:
        check_name(self.archive_name, f"the archive of {self.table}")
        if self.rows not in (None, "restore", "leave"):
            raise InvalidOperation(f"rows={self.rows!r} of the archive of {self.table}: say 'restore' or 'leave'")
        if self.by is not None and not isinstance(self.by, Partitioning):
            raise InvalidOperation(
                f"by={self.by!r} of the archive of {self.table}: say Monthly('created_at'), or another such"
            )

    @property
    def title(self) -> str:
        """The operation in a few words, for people."""
        return f"{self.directive} {self.archive_name} of {self.table}"

    @property
    def archive_name(self) -> str:
        """The name of the archive."""
        return self.name or name_of(self.table, "archive")

    def place(self, table: Relation) -> Relation:
        """The archive as it is to be, whether it is there or not."""
        return Relation(0, self.archive_schema or table.schema, self.archive_name, "p" if self.by else "r")

    def there(self, db: Catalog, table: Relation) -> Relation | None:
        """Look the archive up, and refuse one that is something else."""
        db.require_pgopt()
        if self.by is not None and not db.online:
            raise NeedsDatabase(UNSEEN)
        place = self.place(table)
        found = db.relation(place.name, place.schema)
        if found is None:
            return None
        if found.kind != place.kind:
            raise InvalidOperation(
                f"{found} is there already, and is no {'partitioned' if self.by else 'plain'} table: choose another name"
            )
        if self.by is not None and not archive_partitions.is_so(db, found, archive_partitions.said(db, table, self.by)):
            raise InvalidOperation(f"{found} is there already, with other partitions: choose another name")
        if differ := differences(db, table, found):
            raise InvalidOperation(f"there is another {found}: {'; '.join(differ)}")
        return found


@operation("create_archive_table")
class CreateArchiveTable(ArchiveOperation):
    """Create a table with the columns and the key of another, to which a policy archives rows.

    It has no defaults, no foreign keys and no other indexes; generated columns are plain ones there, so that they keep what
    they were. ``storage`` are its storage parameters. ``rows`` says what becomes of its rows on the way back. Takes ACCESS
    SHARE on the table for an instant. With ``by`` it is partitioned: from the oldest row on, with ``premake`` partitions ahead,
    to which ``pgopt.maintain_partitions()`` adds, and a default, so that no row ever lacks a place; rows before ``start``
    share one. To find the oldest row it reads the table, unless an index begins with the column. The key must
    contain the column; ``widen_keys=True`` adds it in the archive. Needs `install_pgopt`::

        op.create_archive_table("credit_ledger", "credit_ledger_archive", storage={"autovacuum_freeze_min_age": 0})
        op.create_retention_policy(
            "credit_ledger", column="created_at", keep="6 months", action="archive", archive_to="credit_ledger_archive"
        )
        op.create_archive_table("audit_logs", by=Monthly("created_at"), widen_keys=True)
    """

    def reverse(self) -> DropArchiveTable:
        return other(DropArchiveTable, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        if not db.online or db.key_of(db.table(self.table, self.schema)) is not None:
            return ()
        return (f"{self.table} has no key, so nothing keeps a row from being in the archive twice",)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if self.there(db, table) is None:
            self._key(db, table)
        yield Step(
            f"create {self.place(table)} like {table}",
            lambda db: self._create(db, table),
            locks=[Lock(Mode.ACCESS_SHARE, table.name, table.schema)],
            done=lambda db: self.there(db, table) is not None,
        )

    def _key(self, db: Catalog, table: Relation) -> Sequence[str] | None:
        if self.by is None:
            return db.key_of(table)
        archive_partitions.said(db, table, self.by)
        return archive_partitions.key_of_archive(db, table, self.by, widen=self.widen_keys)

    def _create(self, db: Catalog, table: Relation) -> Iterator[Composable]:
        key = self._key(db, table)
        parts = [sql("like {} including compression including storage", table.ident)]
        if key is not None:
            parts.append(sql("primary key ({})", joined(map(ident, key))))
        given = sql(" with ({})", options(self.storage)) if self.storage else sql("")
        how = sql(" partition by {}", self.by.clause()) if self.by else given
        yield sql("create table {} ({}){}", self.place(table).ident, joined(parts), how)
        yield without_defaults(self.place(table).ident)
        if self.by is not None:
            archive = db.table(self.archive_name, self.place(table).schema)
            layout = archive_partitions.layout(db, table, archive, self.by, self.premake, self.start)
            yield from archive_partitions.create(db, table, layout, given)


@operation("drop_archive_table")
class DropArchiveTable(ArchiveOperation):
    """Drop an archive that is empty; one with rows is refused, unless ``rows`` says what becomes of them.

    With ``rows="restore"`` they are moved back first, in batches, each of them once; with ``rows="leave"`` the table stays as
    it is, and is taken up again when it is created again. A policy that archives to it must be dropped before. Takes ACCESS
    EXCLUSIVE on the archive for an instant, and to move rows ROW EXCLUSIVE on both. Needs `install_pgopt`::

        op.drop_archive_table("credit_ledger", "credit_ledger_archive", rows="restore")
    """

    def reverse(self) -> CreateArchiveTable:
        return other(CreateArchiveTable, self)

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        table = db.table(self.table, self.schema)
        archive = self.there(db, table)
        if archive is None:
            return
        self._refuse_users(db, archive)
        if db.has_rows(archive):
            if self.rows == "leave":
                return
            self._refuse_rows(archive)
            for part in db.partitions(archive) or [archive]:
                yield self._restore(db, table, archive, part)
        refuse_split(db, archive)
        tables = tree(db, archive)
        yield Step(
            f"drop {archive}",
            lambda db: self._drop(db, archive),
            locks=[
                *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in tables),
                *(
                    Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True)
                    for each in db.indexes_on(*tables)
                ),
            ],
            done=lambda db: db.relation(archive.name, archive.schema) is None,
        )

    def _restore(self, db: Catalog, table: Relation, archive: Relation, part: Relation) -> DrainStep:
        """Move the rows back; what somebody holds meanwhile is found when the table is locked."""
        referents = sorted(
            {each.referent for each in db.foreign_keys(table) if each.referent is not None} - {table.oid}
        )
        return DrainStep(
            f"move the rows of {part} back to {table}",
            lambda most: sql(
                "select moved from pgopt.restore_rows({}, {}, {}, 'true', pgopt.written_path(), {})",
                regclass(table),
                regclass(archive),
                regclass(part),
                literal(most),
            ),
            part,
            locks=[
                *(Lock(Mode.ROW_EXCLUSIVE, each.name, each.schema) for each in (*tree(db, archive), *tree(db, table))),
                *(Lock(Mode.ROW_SHARE, each.name, each.schema) for each in map(db.by_oid, referents)),
            ],
            enough=0,
        )

    def _drop(self, db: Catalog, archive: Relation) -> Iterator[Composable]:
        # somebody may have written to it since
        if db.has_rows(archive):
            self._refuse_rows(archive)
            raise InvalidOperation(f"{archive} has new rows: run it again")
        if archive.partitioned:
            yield sql("delete from pgopt.partitioned where relation = {}::oid", literal(archive.oid))
        yield sql("drop table {}", archive.ident)

    def _refuse_rows(self, archive: Relation) -> None:
        if self.rows != "restore":
            raise InvalidOperation(
                f"{archive} has rows, which would be lost: say rows='restore' to have them moved back, or rows='leave'"
            )

    def _refuse_users(self, db: Catalog, archive: Relation) -> None:
        users = db.session.rows(
            sql(
                "select format('%I.%I', schema_name, table_name) from pgopt.retention_policy"
                " where {name} in ((archive_schema, archive_table), (schema_name, table_name))",
                name=sql("({}::text, {}::text)", literal(archive.schema), literal(archive.name)),
            )
        )
        for (user,) in users:
            raise InvalidOperation(f"the policy of {user} is about {archive}: drop or alter that first")


def differences(db: Catalog, one: Relation, two: Relation) -> Sequence[str]:
    """Say why rows cannot go from one table to another and back."""
    said = sql("select pgopt.differences_of_columns({}, {})", regclass(one), regclass(two))
    return [line for (line,) in db.session.rows(said)]
