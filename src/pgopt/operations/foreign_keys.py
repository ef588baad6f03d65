"""Foreign keys of live tables: for new rows at once, for old ones checked while both tables are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import constraint_steps as steps
from pgopt.operations.base import StateOperation, operation, other
from pgopt.plan.step import Step
from pgopt.server.locks import Mode
from pgopt.server.quoting import check_name, ident, joined, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.locks import Lock
    from pgopt.server.objects import Constraint, Relation


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
        if there is not None and not self.is_same(there, referent):
            raise InvalidOperation(
                f"there is a constraint {self.name} on {table} already, and it is another one:\n"
                f"  there is  {there.definition}\n  wanted is {render(self.definition(referent))}"
            )

    def is_same(self, there: Constraint, referent: Relation) -> bool:
        """Whether a constraint is what the operation says."""
        relation = (there.kind, there.columns, there.referent, there.referent_columns)
        actions = (there.on_delete, there.on_update, there.match, there.deferrable, there.deferred, there.special)
        return relation == ("f", list(self.columns), referent.oid, list(self.referent_columns)) and actions == (
            ACTIONS[self.ondelete.upper()],
            ACTIONS[self.onupdate.upper()],
            MATCHES[self.match.upper()],
            self.deferrable,
            self.initially_deferred,
            False,
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
        table = steps.table_of(db, self.table, self.schema)
        if not db.online or db.has_index_on(table, self.columns):
            return ()
        return [
            (
                f"no index of {table} begins with {', '.join(self.columns)}, so each DELETE on {self.referent} scans the whole table:"
                f" op.create_index_concurrently(None, {self.table!r}, {list(self.columns)!r}{self.schema_too})"
            )
        ]

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = steps.table_of(db, self.table, self.schema)
        referent = steps.table_of(db, self.referent, self.referent_schema)
        tables = steps.with_partitions(db, table)
        self.same_or_refuse(db, table, referent)
        for part in tables[1:]:
            self._check_part(db, part, referent)
        if table.partitioned and db.version < 180000:
            yield from self._by_partition(db, tables, referent)
        else:
            yield from self._on(db, tables, referent, [_drop(db, self.name, tables, referent)])

    def _check_part(self, db: Catalog, part: Relation, referent: Relation) -> None:
        """Refuse what would not come back when the foreign key of the parent is dropped with its parts."""
        if part.kind == "f":
            raise InvalidOperation(f"partition {part} is a foreign table, which can have no foreign key")
        self.same_or_refuse(db, part, referent)
        for there in db.foreign_keys(part):
            if there.name != self.name and not there.inherited and self.is_same(there, referent):
                raise InvalidOperation(
                    f"partition {part} has the equal foreign key {there.name}, which would become a part of {self.name}:"
                    " drop that first"
                )

    def _on(
        self, db: Catalog, tables: Sequence[Relation], referent: Relation, give_up: Sequence[Step]
    ) -> Iterator[Step]:
        referents = _others(db, referent, tables)
        both = sorted([*tables, *referents], key=lambda each: each.oid)
        yield steps.add(self.name, self.definition(referent), tables, _locks(db, Mode.SHARE_ROW_EXCLUSIVE, both))
        yield steps.validate(
            self.name,
            tables,
            partial(
                steps.orphans,
                table=tables[0],
                columns=self.columns,
                referent=referent,
                referent_columns=self.referent_columns,
                full=self.match.upper() == "FULL",
            ),
            also=[
                *_locks(db, Mode.ROW_SHARE, referents[:1]),
                # their rows are looked up, and not locked
                *_locks(db, Mode.ACCESS_SHARE, referents[1:]),
            ],
            give_up=give_up,
        )

    def _by_partition(self, db: Catalog, tables: Sequence[Relation], referent: Relation) -> Iterator[Step]:
        """Before 18 NOT VALID is refused on the parent; valid ones on the partitions are adopted by it without a scan."""
        table, leaves = tables[0], [part for part in tables if part.kind == "r"]
        give_up = [_drop(db, self.name, [part], referent) for part in leaves]
        for part in leaves:
            yield from self._on(db, [part], referent, give_up)
        referents = steps.with_partitions(db, referent)
        # what a partition's own triggers did for the partitions of the other table is dropped
        adopted = leaves if referent.partitioned else []
        yield Step(
            f"add {self.name} to {table}, which adopts those of its partitions",
            sql("alter table {} add constraint {} {}", table.ident, ident(self.name), self.definition(referent)),
            locks=[
                *_locks(db, Mode.SHARE_ROW_EXCLUSIVE, [each for each in tables if each not in (*adopted, *referents)]),
                *_locks(db, Mode.ACCESS_EXCLUSIVE, [*(each for each in adopted if each not in referents), *referents]),
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

    def notes(self, db: Catalog) -> Sequence[str]:
        table = steps.table_of(db, self.table, self.schema)
        return steps.note_not_valid(db, self.name, table) if self.columns else ()

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = steps.table_of(db, self.table, self.schema)
        tables = steps.with_partitions(db, table)
        if self.referent is not None and self.columns:
            referent = steps.table_of(db, self.referent, self.referent_schema)
            for each in tables:
                self.same_or_refuse(db, each, referent)
                steps.refuse_to_lose(db, self.name, each)
        there = db.constraint(table, self.name)
        left = self._left_on(db, tables) if there is None else []
        if there is not None or not left:
            yield _drop(db, self.name, tables, db.by_oid(there.referent) if there and there.referent else None)
        for part, theirs in left:
            yield _drop(db, self.name, [part], theirs)

    def _left_on(self, db: Catalog, tables: Sequence[Relation]) -> list[tuple[Relation, Relation]]:
        """Give the partitions that an interrupted run has left it on: before 18 they get it one by one."""
        if db.version >= 180000:
            return []
        found = [(part, db.constraint(part, self.name)) for part in tables[1:]]
        return [(part, db.by_oid(there.referent)) for part, there in found if there and there.referent]


def _drop(db: Catalog, name: str, tables: Sequence[Relation], referent: Relation | None) -> Step:
    others = _others(db, referent, tables) if referent else []
    return steps.drop(name, tables, also=_locks(db, Mode.ACCESS_EXCLUSIVE, others))


def _locks(db: Catalog, mode: Mode, tables: Sequence[Relation]) -> list[Lock]:
    """Give the lock on each table; behind a script by the statement, since nobody knows whose it is and who will run that."""
    wanted = steps.on_all(mode, tables)
    return wanted if db.online else [replace(lock, by_statement=True) for lock in wanted]


def _others(db: Catalog, referent: Relation, tables: Sequence[Relation]) -> list[Relation]:
    """Give what is referred to, with its partitions, as far as it is not what refers."""
    return [each for each in steps.with_partitions(db, referent) if each not in tables]
