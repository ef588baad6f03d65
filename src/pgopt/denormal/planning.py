"""Makes a definition of what a migration says, and refuses what could not be kept right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.copy.shape import QUALIFIED
from pgopt.denormal.definition import Definition, Kept, Key, known, tag_of
from pgopt.denormal.reading import PACKAGE, read
from pgopt.errors import InvalidOperation
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, render, sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg.sql import Composable

    from pgopt.denormal.definition import Known
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True)
class Wish:
    """What a migration says."""

    target: Relation
    source: Relation
    on: Mapping[str, str]
    columns: Mapping[str, str]
    defaults: Mapping[str, str]
    aggregate: bool
    read_only: bool
    deferred: str | None = None

    def there(self, db: Catalog) -> Known | None:
        """Find it among what is kept in the target, or refuse another one of the same columns."""
        for each in known(db, self.target):
            if set(each.definition.names) & set(self.columns):
                if self.define(db).wording != each.definition.wording:
                    raise InvalidOperation(
                        f"{', '.join(each.definition.names)} of {self.target} are kept already, with another definition:"
                        " drop them first"
                    )
                return each
        return None

    def define(self, db: Catalog) -> Definition:
        """Make the definition."""
        on = self._keys(db)
        reads = {
            name: read(db, self.source, name, self._expression(db, text), aggregate=self.aggregate)
            for name, text in self.columns.items()
        }
        columns = [
            Kept(
                name,
                each.type,
                each.full_type,
                each.text,
                self._default(db, name, "0" if self.aggregate and each.merge == "count" else None),
                each.merge if self.aggregate else None,
                each.comparable,
                each.empty,
            )
            for name, each in reads.items()
        ]
        inputs = sorted({key.source for key in on}.union(*(each.inputs for each in reads.values())))
        order = db.key_of(self.target)
        if order is None:
            raise InvalidOperation(
                f"{self.target} has no primary key and no unique index without NULLs to go by: make one first"
            )
        return Definition(
            tag_of(self.target, list(self.columns)),
            self.target,
            self.source,
            on,
            columns,
            inputs,
            list(order),
            self.aggregate,
            self._guaranteed(db),
            self.read_only,
            self.deferred,
            self._parted_by(db),
        )

    def _expression(self, db: Catalog, text: str) -> str:
        """Take a text that is the name of a column for that, as Alembic does."""
        names = {column.name for column in db.columns(self.source)}
        return render(ident(text)) if not self.aggregate and text in names else text

    def _default(self, db: Catalog, name: str, otherwise: str | None) -> str | None:
        if name not in self.defaults:
            return otherwise
        return read(db, self.source, name, str(self.defaults[name]), aggregate=False).text

    def _keys(self, db: Catalog) -> list[Key]:
        with db.session.rolled_back():
            db.session.run(QUALIFIED)
            target, source = (
                {row[0]: row[1:] for row in db.session.rows(query("keys", PACKAGE, table=literal(table.oid)))}
                for table in (self.target, self.source)
            )
        for table, names, there in ((self.target, self.on.keys(), target), (self.source, self.on.values(), source)):
            for name in names:
                if name not in there:
                    raise InvalidOperation(f"{table} has no column {name!r}: it has {', '.join(there)}")
                kind, plain, generated = there[name]
                if not plain:
                    raise InvalidOperation(
                        f"column {name!r} of {table} is of type {kind}: keys are of types of the server's own"
                    )
                if generated:
                    raise InvalidOperation(f"column {name!r} of {table} is generated: keys are of plain columns")
        return [Key(one, other, target[one][0]) for one, other in self.on.items()]

    def _parted_by(self, db: Catalog) -> list[str]:
        """Give the columns by which rows go to partitions of the target."""
        names = db.session.rows(query("parted_by", PACKAGE, table=literal(self.target.oid)))
        return [name for (name,) in names]

    def _guaranteed(self, db: Catalog) -> bool:
        """Whether a foreign key is there at once, so that no row of the source comes before its row of the target."""
        pairs = {(other, one) for one, other in self.on.items()}
        return any(
            key.referent == self.target.oid
            and key.valid
            and not key.deferrable
            and not key.special
            and set(zip(key.columns or (), key.referent_columns or (), strict=True)) == pairs
            for key in db.foreign_keys(self.source)
        )

    # -- what stands against it ------------------------------------------------------------------------------------------

    def refuse(self, db: Catalog) -> None:
        """Refuse what could not be kept right, or fast."""
        for table in (self.target, self.source):
            may = literal(table != self.source or self.aggregate or self.deferred is not None)
            known = {
                "table": literal(table.oid),
                "may_be_partitioned": may,
                "is_written": literal(table == self.target),
            }
            obstacles = query("obstacles", PACKAGE, **known)
            for (why,) in db.session.rows(obstacles):
                raise InvalidOperation(f"{table} {why}")
        taken = {column.name for column in db.columns(self.target)}.intersection(self.columns)
        if taken:
            raise InvalidOperation(
                f"there is a column {min(taken)!r} of {self.target} already, and what is in it would be lost: choose another"
                " name, or drop it first"
            )
        self._refuse_virtual(db)
        self._refuse_many(db)
        for table, names in ((self.target, list(self.on)), (self.source, list(self.on.values()))):
            if not db.has_index_on(table, names):
                raise InvalidOperation(
                    f"there is no index on {table} that begins with {', '.join(names)}, by which its rows of a key are found:"
                    " op.create_index_concurrently first"
                )
        with db.session.rolled_back():
            db.session.run(self._comparison())

    def _refuse_virtual(self, db: Catalog) -> None:
        virtual = {column.name for column in db.columns(self.source) if column.generated == "v"}
        for name in virtual.intersection(self.define(db).inputs):
            raise InvalidOperation(
                f"column {name!r} of {self.source} is virtual, which triggers cannot see: say its expression"
            )

    def _refuse_many(self, db: Catalog) -> None:
        names = list(self.on.values())
        unique = query("unique", PACKAGE, table=literal(self.source.oid), columns=literal(names))
        if not self.aggregate and not db.session.value(unique):
            raise InvalidOperation(
                f"several rows of {self.source} may have the same {', '.join(names)}, and only one can be copied: make it unique"
                " first, or use op.denormalize_aggregate"
            )

    def _comparison(self) -> Composable:
        """Compare the keys, so that the server says what cannot be compared."""
        pairs = joined((sql("t.{} = r.{}", ident(one), ident(other)) for one, other in self.on.items()), " and ")
        return sql("select from {} t, {} r where {} limit 0", self.target.ident, self.source.ident, pairs)
