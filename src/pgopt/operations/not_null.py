"""NOT NULL of live tables: for new rows at once, for old ones checked while the table is in use."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation
from pgopt.operations import constraint_steps as steps
from pgopt.operations.base import StateOperation, operation, other
from pgopt.plan.step import Step
from pgopt.server.locks import Mode
from pgopt.server.quoting import NAME_BYTES, block, ident, literal, name_of, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True, repr=False)
class NotNullOperation(StateOperation):
    """NOT NULL of a column."""

    table: str
    column: str
    _: KW_ONLY
    schema: str | None = None

    @property
    def title(self) -> str:
        return f"{self.directive} {self.column} of {self.table}"


@operation("set_not_null_online")
class SetNotNullOnline(NotNullOperation):
    """Forbid NULL in a column while the table is in use.

    It holds for new rows at once (ACCESS EXCLUSIVE for an instant), then the rows that are there are checked under SHARE
    UPDATE EXCLUSIVE: by NOT NULL ... NOT VALID on PostgreSQL 18, and by a CHECK before it, which is the proof that spares
    SET NOT NULL its scan. The dump is the one that a plain SET NOT NULL gives::

        op.set_not_null_online("tickets", "organization_id")
    """

    def reverse(self) -> DropNotNull:
        return other(DropNotNull, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = steps.table_of(db, self.table, self.schema)
        tables = steps.tree(db, table)
        if not db.online:
            yield from self._by_check(table, tables)
            return
        if steps.is_never_null(db, table, self.column):
            yield from _drop_proof(db, table, tables, self.column)
            return
        yield from (self._by_not_valid if db.version >= 180000 else self._by_check)(table, tables)

    def notes(self, db: Catalog) -> Sequence[str]:
        if not db.online or db.version >= 180000:
            return ()
        table = steps.table_of(db, self.table, self.schema)
        if db.column(table, self.column).not_null:
            return ()
        own = [str(each) for each in db.descendants(table) if db.column(each, self.column).not_null]
        if not own:
            return ()
        return [
            f"these have NOT NULL of column {self.column!r} of their own and lose it when this is undone: {', '.join(own)}"
        ]

    def _by_not_valid(self, table: Relation, tables: Sequence[Relation]) -> Iterator[Step]:
        yield Step(
            f"forbid NULL in {self.column} of {table} for new rows",
            # without a name the server gives it the one that SET NOT NULL would
            sql("alter table {} add not null {} not valid", table.ident, ident(self.column)),
            locks=steps.on_all(Mode.ACCESS_EXCLUSIVE, tables),
            done=lambda db: db.not_null(table, self.column) is not None,
        )
        yield Step(
            f"check the rows of {table} for NULL in {self.column}",
            # VALIDATE CONSTRAINT wants the name, and the server chose it
            _validate_not_null(table, self.column),
            locks=steps.on_all(Mode.SHARE_UPDATE_EXCLUSIVE, tables),
            done=partial(steps.is_never_null, table=table, column=self.column),
            explain=partial(self._nulls, tables=tables),
            give_up=[_drop_not_null(table, tables, self.column)],
        )

    def _by_check(self, table: Relation, tables: Sequence[Relation]) -> Iterator[Step]:
        proof = proof_name(table, self.column)
        drop = steps.drop(proof, tables)
        for step in (
            steps.add(
                proof,
                sql("check ({} is not null)", ident(self.column)),
                tables,
                steps.on_all(Mode.ACCESS_EXCLUSIVE, tables),
            ),
            steps.validate(proof, tables, partial(self._nulls, tables=tables), give_up=[drop]),
            Step(
                f"forbid NULL in {self.column} of {table}",
                sql("alter table {} alter column {} set not null", table.ident, ident(self.column)),
                locks=steps.on_all(Mode.ACCESS_EXCLUSIVE, tables),
            ),
        ):
            yield step.unless(lambda db: db.column(table, self.column).not_null)
        yield drop

    def _nulls(self, db: Catalog, *, tables: Sequence[Relation]) -> str:
        condition = sql("{} is null", ident(self.column))
        return steps.violating_rows(db, tables=tables, condition=condition, do=f"have NULL in {self.column}")


@operation("drop_not_null")
class DropNotNull(NotNullOperation):
    """Allow NULL in a column.

    Takes ACCESS EXCLUSIVE for an instant::

        op.drop_not_null("tickets", "organization_id")
    """

    def reverse(self) -> SetNotNullOnline:
        return other(SetNotNullOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = steps.table_of(db, self.table, self.schema)
        tables = steps.tree(db, table)
        if db.online:
            for each in tables:
                self._check(db, each)
            yield from _drop_proof(db, table, tables, self.column)
        yield _drop_not_null(table, tables, self.column)

    def notes(self, db: Catalog) -> Sequence[str]:
        table = steps.table_of(db, self.table, self.schema)
        named = db.not_null(table, self.column)
        if named is None:
            return ()
        return [*steps.note_not_valid(db, named.name, table), *self._own(db, db.descendants(table))]

    def _own(self, db: Catalog, children: Sequence[Relation]) -> Iterator[str]:
        found = ((child, db.not_null(child, self.column)) for child in children)
        if own := [str(child) for child, named in found if named and named.local]:
            yield f"these keep the NOT NULL of column {self.column!r} that is their own: {', '.join(own)}"

    def _check(self, db: Catalog, table: Relation) -> None:
        db.column(table, self.column)
        named = db.not_null(table, self.column)
        if named is None:
            return
        steps.refuse_to_lose(db, named.name, table)
        if named.definition.endswith(" NO INHERIT"):
            raise InvalidOperation(
                f"NOT NULL of column {self.column!r} of {table} is NO INHERIT, which would not come back:"
                f" ALTER TABLE ... ALTER CONSTRAINT {named.name} INHERIT first"
            )
        # that of a partition or a child has the name that its parent's has
        if not named.inherited and not _is_usual_name(named.name, table.name, self.column):
            usual = name_of_not_null(table.name, self.column)
            raise InvalidOperation(
                f"NOT NULL of column {self.column!r} of {table} has the name {named.name!r}, which would not come back:"
                f" rename that constraint to {usual!r} first"
            )


def _is_usual_name(name: str, table: str, column: str) -> bool:
    """Whether a name is the server's own choice: it counts on where one is taken."""
    number = name[len(name.rstrip("0123456789")) :]
    return name == name_of_not_null(table, column, number)


def name_of_not_null(table: str, column: str, number: str = "") -> str:
    """Give the name that the server gives to a NOT NULL constraint, cut as it cuts."""
    room = NAME_BYTES - len(f"__not_null{number}")
    first, second = table.encode(), column.encode()
    while len(first) + len(second) > room:
        if len(first) > len(second):
            first = first[:-1]
        else:
            second = second[:-1]
    return f"{first.decode(errors='ignore')}_{second.decode(errors='ignore')}_not_null{number}"


def proof_name(table: Relation, column: str) -> str:
    """Name the CHECK that spares SET NOT NULL its scan."""
    return name_of(table.name, column, "pgopt_not_null")


def _drop_proof(db: Catalog, table: Relation, tables: Sequence[Relation], column: str) -> Iterator[Step]:
    """Drop the proof that an interrupted run has left."""
    proof = proof_name(table, column)
    if steps.has(db, name=proof, table=table):
        yield steps.drop(proof, tables)


def _drop_not_null(table: Relation, tables: Sequence[Relation], column: str) -> Step:
    return Step(
        f"allow NULL in {column} of {table}",
        sql("alter table {} alter column {} drop not null", table.ident, ident(column)),
        locks=steps.on_all(Mode.ACCESS_EXCLUSIVE, tables),
        done=lambda db: not db.column(table, column).not_null,
    )


def _validate_not_null(table: Relation, column: str) -> Composable:
    """Validate the constraint whose name the server has chosen."""
    validate = (
        "execute (select format('alter table %s validate constraint %I', c.conrelid::regclass, c.conname)"
        " from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]"
        " where c.conrelid = {} and c.contype = 'n' and a.attname = {})"
    )
    return block([sql(validate, literal(table.oid), literal(column))])
