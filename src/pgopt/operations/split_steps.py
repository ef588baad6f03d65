"""The steps by which a partition becomes several, and several become one: filled beside them, and swapped in an instant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pgopt.copy.bounds import beside_all, default_of, read_alike, siblings
from pgopt.copy.changes import Changes
from pgopt.copy.compiled import Compiled
from pgopt.copy.filling import Filling
from pgopt.copy.incoming import ForeignKeys
from pgopt.copy.move import watch_instead
from pgopt.copy.pieces import Piece, Split
from pgopt.copy.shape import (
    PACKAGE,
    PIECES,
    QUALIFIED,
    REST,
    WHOLE,
    beside,
    in_order,
    indexes_of,
    like,
    proof_of,
    rights_to,
)
from pgopt.errors import InvalidOperation
from pgopt.operations import constraint_steps
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, name_of, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.copy.bounds import Bounds
    from pgopt.plan.step import AnyStep
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Column, Relation

AX, SUX = Mode.ACCESS_EXCLUSIVE, Mode.SHARE_UPDATE_EXCLUSIVE
# bounds mean the same in each session, and names are written in full
ALIKE = f"{QUALIFIED}, set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, MDY', true)"


@dataclass(frozen=True)
class Place:
    """The place of one partition in its table, which is one partition or several."""

    table: Relation
    name: str
    schema: str | None
    """Of the partition."""
    column: Column

    @property
    def changes(self) -> Changes:
        """The log on the way to the pieces."""
        return Changes(self.schema, self.name, PIECES)

    @property
    def changes_back(self) -> Changes:
        """The log on the way back to the whole."""
        return Changes(self.schema, self.name, WHOLE)

    @property
    def staging(self) -> str:
        """The name of what holds the pieces until they are partitions of the table."""
        return beside(self.name, PIECES)

    @property
    def proof(self) -> str:
        """The name of the CHECK which tells that a default has no rows of this place."""
        return name_of(self.name, "pgopt_beside")

    def is_split(self, db: Catalog) -> bool:
        """Whether there are pieces in this place."""
        return Split.of(db, self.table, self.name, self.schema) is not None

    def key(self, db: Catalog) -> Sequence[str]:
        """Give the columns that tell the rows apart."""
        if (found := db.key_of(self.table)) is None:
            raise InvalidOperation(
                f"{self.table} has no primary key and no unique index without NULLs, by which its rows are told apart: add one first"
            )
        return found

    def match(self, db: Catalog) -> Sequence[str]:
        """Give the columns by which rows are matched."""
        key = self.key(db)
        return key if self.column.name in key else [*key, self.column.name]

    def refuse(self, db: Catalog, parts: Sequence[Relation], note: Changes, *, anew: bool) -> None:
        """Refuse what stands against an exchange of partitions, for others that are made anew or are there."""
        found = []
        for part in parts:
            asked = query(
                "unsplittable",
                PACKAGE,
                table=literal(self.table.oid),
                part=literal(part.oid),
                note=literal(note.note_name),
            )
            found += [f"{part}: {said}" for (said,) in db.session.rows(asked)]
        tables = [self.table, *parts]
        self._refuse([*found, *rights_to(db, tables, moved=[], anew=tables if anew else [])])

    def refuse_misfit(self, db: Catalog, part: Relation, *, watched: bool = False) -> None:
        """Refuse a table that is not like the partitioned one, so that attaching it would take long."""
        asked = query("misfits", PACKAGE, table=literal(self.table.oid), part=literal(part.oid))
        found = [said for (said,) in db.session.rows(asked)]
        # the log that was begun for this very table is no obstacle
        found = [said for said in found if not (watched and "are noted for its copy" in said)]
        # the table has none when it is attached
        self._refuse([f"{part}: {said}" for said in found if not said.startswith("it has no foreign key ")])

    def _refuse(self, found: Sequence[str]) -> None:
        if found:
            lines = "".join(f"\n  {said}" for said in dict.fromkeys(found))
            raise InvalidOperation(f"{self.name} of {self.table} cannot be split or merged as it is:{lines}")

    def keep_default_out(self, default: Relation, bounds: Bounds) -> Iterator[Step]:
        """Let a CHECK tell that a default has none of these rows, so that it is not read under a strong lock."""
        condition = beside_all([bounds], ident(self.column.name))

        def inside(db: Catalog) -> str:
            return constraint_steps.violating_rows(db, tables=[default], condition=sql("not ({})", condition))

        lock = Lock(AX, default.name, default.schema)
        yield constraint_steps.add(self.proof, sql("check ({})", condition), [default], [lock])
        yield constraint_steps.validate(self.proof, [default], inside)

    def locks(self, db: Catalog, parts: Sequence[Relation], more: Sequence[Relation] = ()) -> list[Lock]:
        """Give the locks of partitions that go and of what takes their place; on all, since triggers of the whole table go."""
        exchanged = ForeignKeys.of(db, self.table, parts)
        touched = [self.table, *parts, *db.partitions(self.table), *more]
        tables = in_order(exchanged.referencing(db), touched, exchanged.referents(db))
        return [
            *(Lock(AX, each.name, each.schema) for each in tables),
            *(Lock(SUX, each.name, each.schema, is_index=True) for each in db.indexes_on(self.table)),
            *(Lock(AX, each.name, each.schema, is_index=True) for each in db.indexes_on(*parts)),
        ]


@dataclass(frozen=True)
class Splitting(Place):
    """A partition on its way to be several."""

    part: Relation
    bounds: Bounds | None
    """Its range, unless it is the default."""
    pieces: Sequence[Piece]
    said: dict[str, Any]
    within: str
    """The condition that its rows meet."""

    def steps(self, db: Catalog) -> Iterator[AnyStep]:
        """Give the steps that put the pieces in its place."""
        if (default := default_of(db, self.table)) is not None and self.bounds is not None:
            yield from self.keep_default_out(default, self.bounds)
        yield Step(
            f"make the pieces of {self.part}",
            self._make,
            locks=[Lock(Mode.ACCESS_SHARE, self.table.name, self.table.schema)],
            done=lambda db: db.relation(self.staging, self.table.schema) is not None,
        )
        filling = self._filling(db)
        indexes = [(index.name, beside(index.name, PIECES), index) for index in indexes_of(db, self.table)]
        yield from filling.copy(db, indexes)
        yield Step(
            f"give the indexes of the pieces what those of {self.part} have",
            self._dress,
            done=lambda db: not self._undressed(db),
            beside=filling.parts,
        )
        compiled = Compiled(self.schema, self.name)
        yield Step(
            f"swap {self.part} for its pieces",
            partial(self._swap, compiled=compiled),
            locks=self.locks(db, [self.part]),
            done=self.is_split,
            before=[*filling.follow(db), compiled.look()],
            beside=filling.beside,
        )

    def _filling(self, db: Catalog) -> Filling:
        return Filling(
            self.part,
            self.staging,
            self.key(db),
            self.match(db),
            self.changes,
            self.is_split,
            watched=[self.table, self.part],
            leaves=[self.part],
            within=self.within,
            target_schema=self.table.schema,
        )

    def _make(self, db: Catalog) -> Iterator[Composable]:
        column, staging = ident(self.column.name), ident(self.table.schema, self.staging)
        yield from like(self.table, self.staging, sql("partition by range ({})", column))
        others = [each.bounds for each in siblings(db, self.table) if each.bounds is not None]
        for piece in self.pieces:
            yield sql("select pgopt.make_like({}, {}, {})", *map(literal, (self.table.oid, self.part.oid, piece.name)))
            made = db.table(piece.name, self.table.schema)
            ranges = [*others, *(each.bounds for each in self.pieces if each.bounds is not None)]
            condition = piece.bounds.condition(column) if piece.bounds else beside_all(ranges, column)
            yield sql("alter table {} add constraint {} check ({})", made.ident, ident(proof_of(made)), condition)
            yield sql("alter table {} attach partition {} {}", staging, made.ident, piece.clause())

    def _undressed(self, db: Catalog) -> list[str]:
        pairs = [
            (render(ident(self.table.schema, index.name)), render(ident(self.table.schema, beside(index.name, PIECES))))
            for index in indexes_of(db, self.table)
        ]
        rows = db.session.rows(
            query(
                "undressed",
                PACKAGE,
                part=literal(self.part.oid),
                theirs=literal([one for one, _ in pairs]),
                ours=literal([two for _, two in pairs]),
            )
        )
        return [said for (said,) in rows]

    def _dress(self, db: Catalog) -> Iterator[Composable]:
        yield from map(verbatim, self._undressed(db))

    def _swap(self, db: Catalog, compiled: Compiled) -> Iterator[Composable]:
        yield verbatim(ALIKE)
        yield self.changes.replay(None)
        staging = db.table(self.staging, self.table.schema)
        pieces = [(db.by_oid(each.oid), each.text) for each in siblings(db, staging)]
        bound = db.session.value(sql("select pgopt.bound_of({}::oid)", literal(self.part.oid)))
        yield from self.changes.drop()
        yield sql("delete from pgopt.copy where source = {}::oid", literal(self.part.oid))
        for piece, _ in pieces:
            yield sql("alter table {} detach partition {}", staging.ident, piece.ident)
        yield sql("drop table {}", staging.ident)
        keys = ForeignKeys.of(db, self.table)
        yield from keys.drop()
        yield sql("alter table {} detach partition {}", self.table.ident, self.part.ident)
        whole = ident(self.part.schema, beside(self.name, WHOLE))
        yield sql("alter table {} rename to {}", self.part.ident, ident(beside(self.name, WHOLE)))
        yield sql("truncate {}", whole)
        for piece, text in pieces:
            self.refuse_misfit(db, piece)
            yield sql("alter table {} attach partition {} {}", self.table.ident, piece.ident, verbatim(text))
            yield sql("alter table {} drop constraint {}", piece.ident, ident(proof_of(piece)))
            if piece.name == beside(self.name, REST):
                yield sql("alter table {} rename to {}", piece.ident, ident(self.name))
        yield from keys.add(db)
        yield from watch_instead(db, self.table, self.table)
        yield from self._forget_proof(db)
        yield sql(
            "insert into pgopt.split (whole, parent, name, bound, pieces, said) values ({}, {}, {}, {}, {}::oid[]::regclass[], {})",
            *map(
                literal,
                (
                    self.part.oid,
                    self.table.oid,
                    self.name,
                    bound,
                    [each.oid for each, _ in pieces],
                    json.dumps(self.said),
                ),
            ),
        )
        yield from compiled.renew()

    def _forget_proof(self, db: Catalog) -> Iterator[Composable]:
        default = default_of(db, self.table)
        if default is not None and self.bounds is not None:
            yield sql("alter table {} drop constraint if exists {}", default.ident, ident(self.proof))


@dataclass(frozen=True)
class Merging(Place):
    """Pieces on their way to be one partition again."""

    whole: Relation
    known: Split
    parts: Sequence[Relation]

    def steps(self, db: Catalog) -> Iterator[AnyStep]:
        """Give the steps that put the whole in the place of the pieces."""
        bounds = self.known.bounds
        if (default := default_of(db, self.table)) is not None and bounds is not None:
            yield from self.keep_default_out(default, bounds)
        condition = self._condition(db)
        yield self._begin_anew()
        yield Step(
            f"bound {self.whole}",
            sql(
                "alter table {} add constraint {} check ({})", self.whole.ident, ident(proof_of(self.whole)), condition
            ),
            locks=[Lock(AX, self.whole.name, self.whole.schema)],
            done=self._is_begun,
        )
        filling = Filling(
            self.table,
            self.whole.name,
            self.key(db),
            self.match(db),
            self.changes_back,
            lambda db: not self.is_split(db),
            watched=[self.table, *self.parts],
            leaves=self.parts,
            within=render(condition),
            has_indexes=True,
            target_schema=self.whole.schema,
        )
        yield from filling.copy(db, [])
        compiled = Compiled(self.schema, self.name)
        yield Step(
            f"swap the pieces of {self.name} for one",
            partial(self._swap, compiled=compiled),
            locks=self.locks(db, self.parts, [self.whole]),
            done=lambda db: not self.is_split(db),
            before=[*filling.follow(db), compiled.look()],
            beside=filling.beside,
        )

    def _is_begun(self, db: Catalog) -> bool:
        return db.constraint(self.whole, proof_of(self.whole)) is not None

    def _begin_anew(self) -> Step:
        """Forget how far another merge came, of which nothing is left."""
        progress = sql("from pgopt.progress where end_key[3] = {}", literal(str(self.whole.oid)))
        return Step(
            f"forget how far {self.whole} was filled before",
            sql("delete {}", progress),
            done=lambda db: self._is_begun(db) or not db.session.value(sql("select exists (select {})", progress)),
        )

    @cached_property
    def _oids(self) -> set[int]:
        return {each.oid for each in self.parts}

    def _condition(self, db: Catalog) -> Composable:
        column = ident(self.column.name)
        if (bounds := self.known.bounds) is not None:
            return bounds.condition(column)
        with read_alike(db):
            there = siblings(db, self.table)
        return beside_all([each.bounds for each in there if each.bounds and each.oid not in self._oids], column)

    def _swap(self, db: Catalog, compiled: Compiled) -> Iterator[Composable]:
        yield verbatim(ALIKE)
        yield self.changes_back.replay(None)
        default = default_of(db, self.table)
        yield from self.changes_back.drop()
        self.refuse_misfit(db, self.whole)
        yield sql("delete from pgopt.copy where source = {}::oid", literal(self.table.oid))
        keys = ForeignKeys.of(db, self.table)
        yield from keys.drop()
        for part in self.parts:
            yield sql("alter table {} detach partition {}", self.table.ident, part.ident)
            yield sql("drop table {}", part.ident)
        whole = ident(self.whole.schema, self.name)
        yield sql("alter table {} rename to {}", self.whole.ident, ident(self.name))
        yield sql("alter table {} attach partition {} {}", self.table.ident, whole, verbatim(self.known.bound))
        yield sql("alter table {} drop constraint {}", whole, ident(proof_of(self.whole)))
        yield from keys.add(db)
        yield from watch_instead(db, self.table, self.table)
        if default is not None and default.oid not in self._oids:
            yield sql("alter table {} drop constraint if exists {}", default.ident, ident(self.proof))
        yield sql("delete from pgopt.split where whole = {}::oid", literal(self.whole.oid))
        yield from compiled.renew()
