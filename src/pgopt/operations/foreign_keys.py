"""Foreign keys of live tables: for new rows at once, for old ones checked while both tables are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import constraint_steps as steps
from pgopt.operations.base import StateOperation, operation, other
from pgopt.plan.step import Step
from pgopt.server.locks import Mode
from pgopt.server.quoting import check_name, ident, joined, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog, Relation


ACTIONS = {"NO ACTION": "a", "RESTRICT": "r", "CASCADE": "c", "SET NULL": "n", "SET DEFAULT": "d"}
MATCHES = {"SIMPLE": "s", "FULL": "f"}


@dataclass(frozen=True, repr=False)
class ForeignKeyOperation(StateOperation):
    """A foreign key."""

    name: str
    table: str
    referent: str | None = None
    columns: Sequence[str] = ()
    referent_columns: Sequence[str] = ()
    _: KW_ONLY
    ondelete: str = "NO ACTION"
    onupdate: str = "NO ACTION"
    match: str = "SIMPLE"
    deferrable: bool = False
    initially_deferred: bool = False
    schema: str | None = None
    referent_schema: str | None = None

    def check(self) -> None:
        check_name(self.name, f"a constraint of {self.table}")
        if len(self.columns) != len(self.referent_columns):
            raise InvalidOperation(
                f"{self.name} has {len(self.columns)} columns, and refers to {len(self.referent_columns)}"
            )
        for what, known in (("ondelete", ACTIONS), ("onupdate", ACTIONS), ("match", MATCHES)):
            if getattr(self, what).upper() not in known:
                raise InvalidOperation(f"{what}={getattr(self, what)!r} of {self.name}: say {', '.join(known)}")
        steps.check_timing(self)

    def definition(self, referent: Relation) -> Composable:
        """Write the constraint."""
        return sql(
            "foreign key ({}) references {} ({}){} on update {} on delete {}{}",
            joined(map(ident, self.columns)),
            referent.ident,
            joined(map(ident, self.referent_columns)),
            verbatim(" match full" if self.match.upper() == "FULL" else ""),
            verbatim(self.onupdate.lower()),
            verbatim(self.ondelete.lower()),
            steps.timing(self),
        )

    def same_or_refuse(self, db: Catalog, table: Relation, referent: Relation) -> None:
        """Take an equal foreign key for the operation's own, and refuse another one of that name."""
        there = db.constraint(table, self.name)
        if there is None:
            return
        has = (there.kind, there.columns, there.referent, there.referent_columns, there.on_delete, there.on_update)
        wants = (
            "f",
            list(self.columns),
            referent.oid,
            list(self.referent_columns),
            ACTIONS[self.ondelete.upper()],
            ACTIONS[self.onupdate.upper()],
        )
        timing = (there.match, there.deferrable, there.deferred)
        if has != wants or timing != (MATCHES[self.match.upper()], self.deferrable, self.initially_deferred):
            raise InvalidOperation(
                f"there is a constraint {self.name} on {table} already, and it is another one:\n  there is  {there.definition}"
            )


@operation("create_foreign_key_online")
class CreateForeignKeyOnline(ForeignKeyOperation):
    """Add a foreign key while both tables are in use.

    It holds for new rows at once (SHARE ROW EXCLUSIVE on both tables for an instant), then the rows that are there are
    checked under SHARE UPDATE EXCLUSIVE. Rows that refer to nothing are counted and shown, and the constraint is gone
    again. Before PostgreSQL 18 a partitioned table gets it partition by partition, then adopts them::

        op.create_foreign_key_online(
            "fk_tickets_organization", "tickets", "organizations", ["organization_id"], ["id"], ondelete="CASCADE",
        )
    """

    referent: str = field()
    columns: Sequence[str] = field()
    referent_columns: Sequence[str] = field()

    def check(self) -> None:
        super().check()
        if not self.columns:
            raise InvalidOperation(f"foreign key {self.name} of {self.table} has no columns")

    def reverse(self) -> DropForeignKeyOnline:
        return other(DropForeignKeyOnline, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        table = db.table(self.table, self.schema)
        if not db.online or db.has_index_on(table, self.columns):
            return ()
        return [
            (
                f"no index of {table} begins with {', '.join(self.columns)}, so each DELETE on {self.referent} scans the whole table:"
                f" op.create_index_concurrently(None, {self.table!r}, {list(self.columns)!r})"
            )
        ]

    def plan(self, db: Catalog) -> Iterator[Step]:
        table, referent = db.table(self.table, self.schema), db.table(self.referent, self.referent_schema)
        self.same_or_refuse(db, table, referent)
        if table.partitioned and db.version < 180000:
            yield from self._by_partition(db, table, referent)
        else:
            yield from self._on(steps.with_partitions(db, table), referent, db)

    def _on(self, tables: Sequence[Relation], referent: Relation, db: Catalog) -> Iterator[Step]:
        referents = [each for each in steps.with_partitions(db, referent) if each not in tables]
        both = sorted([*tables, *referents], key=lambda each: each.oid)
        give_up = steps.drop(self.name, tables, also=steps.on_all(Mode.ACCESS_EXCLUSIVE, referents))
        yield steps.add(self.name, self.definition(referent), tables, steps.on_all(Mode.SHARE_ROW_EXCLUSIVE, both))
        yield steps.validate(
            self.name,
            tables,
            partial(
                steps.orphans,
                table=tables[0],
                columns=self.columns,
                referent=referent,
                referent_columns=self.referent_columns,
            ),
            also=steps.on_all(Mode.ROW_SHARE, referents),
            give_up=[give_up],
        )

    def _by_partition(self, db: Catalog, table: Relation, referent: Relation) -> Iterator[Step]:
        """Before 18 NOT VALID is refused on the parent; valid ones on the partitions are adopted by it without a scan."""
        parts = db.descendants(table)
        for part in parts:
            if part.kind == "r":
                yield from self._on([part], referent, db)
        yield Step(
            f"add {self.name} to {table}, which adopts those of its partitions",
            sql("alter table {} add constraint {} {}", table.ident, ident(self.name), self.definition(referent)),
            locks=[
                *steps.on_all(Mode.SHARE_ROW_EXCLUSIVE, [table, *parts]),
                *steps.on_all(Mode.ACCESS_EXCLUSIVE, steps.with_partitions(db, referent)),
            ],
            done=partial(steps.has, name=self.name, table=table),
        )


@operation("drop_foreign_key_online")
class DropForeignKeyOnline(ForeignKeyOperation):
    """Drop a foreign key.

    Takes ACCESS EXCLUSIVE on both tables for an instant. With its definition, as for `create_foreign_key_online`, it can be
    undone; the foreign key that is there must then be equal to it::

        op.drop_foreign_key_online("fk_tickets_organization", "tickets", "organizations", ["organization_id"], ["id"])
    """

    def reverse(self) -> CreateForeignKeyOnline:
        if not self.columns or self.referent is None:
            raise NotReversible(f"{self.title}: say what it refers to, and the columns, so that it can be made again")
        return other(CreateForeignKeyOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if self.referent is not None and self.columns:
            self.same_or_refuse(db, table, db.table(self.referent, self.referent_schema))
        tables = steps.with_partitions(db, table)
        if not steps.has(db, name=self.name, table=table):
            tables = [part for part in tables if db.online and steps.has(db, name=self.name, table=part)] or tables[:1]
            for part in tables:
                yield self._drop(db, [part])
        else:
            yield self._drop(db, tables)

    def _drop(self, db: Catalog, tables: list[Relation]) -> Step:
        there = db.constraint(tables[0], self.name)
        referents = steps.with_partitions(db, db.by_oid(there.referent)) if there and there.referent else []
        also = [each for each in referents if each not in tables]
        return steps.drop(self.name, tables, also=steps.on_all(Mode.ACCESS_EXCLUSIVE, also))
