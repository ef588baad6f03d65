"""Foreign keys to a table that is to be partitioned, which come to refer to the partitions' column, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgopt.copy.incoming import widened
from pgopt.errors import InvalidOperation
from pgopt.operations.constraint_steps import orphans, refers_to_nothing
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg.sql import Composable

    from pgopt.copy.shape import ForeignKey
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Constraint, Relation


@dataclass(frozen=True)
class Widening:
    """The foreign keys to a table, and the columns by which they are widened."""

    table: Relation
    column: str
    """By which it is to be partitioned."""
    keys: Sequence[ForeignKey]
    by: Mapping[str, str]
    """The referencing columns, each by the name of the foreign key or of its table."""

    def widened(self, known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Say of foreign keys that are remembered what becomes of them."""
        columns = {(key.schema, key.table, key.name): self._by(key) for key in self.keys}
        found = [(key, (key["schema"], key["table"], key["name"])) for key in known]
        return [{**key, "widened": widened(key, self.column, columns[name])} for key, name in found if name in columns]

    def _names(self, key: ForeignKey) -> list[str]:
        return [key.name, f"{key.schema}.{key.table}", key.table]

    def _by(self, key: ForeignKey) -> str | None:
        """Give the column by which one is widened; none where it refers to the partitions' column as it is."""
        if self.column in key.referent_columns:
            return None
        return next((self.by[name] for name in self._names(key) if name in self.by), None)

    def _wide(self) -> list[tuple[ForeignKey, str]]:
        return [(key, by) for key in self.keys if (by := self._by(key)) is not None]

    # -- what stands against it ------------------------------------------------------------------------------------------

    def notes(self, db: Catalog) -> Iterator[str]:
        """Say what will be refused by then and was not before."""
        for key, by in self._wide():
            there = _constraint(db, key)
            yield f"{key.name} of {key.schema}.{key.table} will refuse rows that refer to {self.table} without {by}"
            if there.on_update in "ar":
                yield (
                    f"{key.name} will refuse a change of {self.column} in rows that are referred to; ON UPDATE CASCADE would"
                    f" pass it on to {by}"
                )

    def obstacles(self, db: Catalog) -> Iterator[str]:
        """Give what stands against it, each with its way out."""
        known = {name for key in self.keys for name in self._names(key)}
        for name in self.by:
            if name not in known:
                yield f"incoming_columns= names {name}, which is neither a foreign key to this table nor a table with one"
        for key in self.keys:
            for said in self._against(db, key):
                yield f"foreign key {key.name} of {key.schema}.{key.table} {said}"

    def _against(self, db: Catalog, key: ForeignKey) -> Iterator[str]:
        owner, there = db.by_oid(key.owner), _constraint(db, key)
        if not there.valid:
            yield "is NOT VALID: ALTER TABLE ... VALIDATE CONSTRAINT first"
        if there.special:
            yield "has SET NULL of some columns, PERIOD or NOT ENFORCED, which it could not keep: incoming='drop'"
        if owner.partitioned:
            yield "is of a partitioned table, on which it cannot be made for new rows alone: incoming='drop'"
        if self.column in key.referent_columns:
            return
        if (by := self._by(key)) is None:
            yield from self._without_column(db, key)
            return
        yield from self._against_column(db, owner, there, by)
        yield from self._against_meaning(db, owner, there, by)

    def _without_column(self, db: Catalog, key: ForeignKey) -> Iterator[str]:
        yield (
            f"needs a column with the {self.column} of what a row refers to: say incoming_columns={{{key.name!r}: ...}}, after"
            f" op.add_column_online({key.table!r}, ..., {db.column(self.table, self.column).type!r}), a trigger or an application that"
            f" fills it for new rows, and op.backfill({key.table!r}, ...) for those that are there"
        )

    def _against_column(self, db: Catalog, owner: Relation, there: Constraint, by: str) -> Iterator[str]:
        column = next((each for each in db.columns(owner) if each.name == by), None)
        wanted = db.column(self.table, self.column).type
        if column is None:
            yield f"is to be widened by {by}, and there is no such column: op.add_column_online({owner.name!r}, {by!r}, {wanted!r})"
            return
        if by in (there.columns or ()):
            yield f"contains {by} already: say another column of type {wanted}"
        if column.type != wanted:
            yield f"is to be widened by {by} of type {column.type}: say a column of type {wanted}, as {self.column} is"
        if column.generated and (there.on_update == "c" or there.on_delete == "n"):
            yield f"would have to write to {by}, which is generated: give it another column, or other actions"
        if column.not_null and (loose := self._nullable(db, owner, there)):
            yield f"is to be widened by {by}, which is NOT NULL, but {', '.join(loose)} may be NULL: DROP NOT NULL"

    def _against_meaning(self, db: Catalog, owner: Relation, there: Constraint, by: str) -> Iterator[str]:
        if there.on_delete == "d" or there.on_update == "d":
            yield f"has SET DEFAULT, which cannot know the {by} of that row: incoming='drop'"
        if there.on_update == "n":
            yield f"has ON UPDATE SET NULL, which another {self.column} would bring about, too: incoming='drop'"
        loose = self._nullable(db, owner, there)
        if there.match == "s" and len(there.columns or ()) > 1 and loose:
            yield (
                f"does not look at rows in which one of {', '.join(loose)} is NULL, and MATCH FULL, which it needs with {by}, refuses them:"
                " op.set_not_null_online first, or incoming='drop'"
            )

    def _nullable(self, db: Catalog, owner: Relation, there: Constraint) -> list[str]:
        return [each.name for each in db.columns(owner) if each.name in (there.columns or ()) and not each.not_null]

    # -- rows that refer to nothing --------------------------------------------------------------------------------------

    def refuse_orphans(self, db: Catalog) -> None:
        """Refuse rows whose column is not that of what they refer to, with examples."""
        for key, by in self._wide():
            owner = db.by_oid(key.owner)
            columns, theirs = [*key.columns, by], [*key.referent_columns, self.column]
            condition = refers_to_nothing(db, owner, columns, self.table, theirs, full=True)
            if db.has_rows(owner, condition):
                reason = orphans(
                    db, table=owner, columns=columns, referent=self.table, referent_columns=theirs, full=True
                )
                raise InvalidOperation(f"foreign key {key.name} of {owner} cannot be widened by {by}: {reason}")

    def look_again(self) -> Iterator[Step]:
        """Look for them once more when the copy is made, before the foreign keys are exchanged."""
        names = dict.fromkeys(
            [*((key.table, key.schema) for key, _ in self._wide()), (self.table.name, self.table.schema)]
        )
        if len(self._wide()) > 0:
            yield Step(
                f"see that the rows which refer to {self.table} have its {self.column}",
                self._look,
                locks=[Lock(Mode.ACCESS_SHARE, *name) for name in names],
            )

    def _look(self, db: Catalog) -> Iterator[Composable]:
        self.refuse_orphans(db)
        yield from ()


def _constraint(db: Catalog, key: ForeignKey) -> Constraint:
    found = db.constraint(db.by_oid(key.owner), key.name)
    if found is None:
        raise InvalidOperation(f"foreign key {key.name} of {key.schema}.{key.table} has just gone: run again")
    return found
