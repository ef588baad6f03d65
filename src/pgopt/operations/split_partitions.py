"""Partitions that are split into others, and merged again, while they are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from pgopt.copy import compiled
from pgopt.copy.bounds import read_alike, refuse_disorder, refuse_vague, siblings
from pgopt.copy.by import Partitioning
from pgopt.copy.memory import Memory
from pgopt.copy.partitions import settle_foreign_keys, unsettled_foreign_keys
from pgopt.copy.pieces import Piece, Split, by_ends, by_periods
from pgopt.copy.shape import QUALIFIED, REST, beside
from pgopt.errors import InvalidOperation
from pgopt.operations.base import StateOperation, operation, other
from pgopt.operations.split_steps import Merging, Place, Splitting
from pgopt.operations.split_undone import forget_merge, forget_split
from pgopt.server.quoting import check_name, literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgopt.copy.bounds import Bounds
    from pgopt.plan.step import AnyStep
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True, repr=False)
class PiecesOperation(StateOperation):
    """A partition by its name, and the pieces that it is cut into."""

    table: str
    partition: str
    _: KW_ONLY
    by: Partitioning | None = None
    start: str | None = None
    at: Sequence[str | int] = ()
    into: Sequence[str] = ()
    schema: str | None = None
    partition_schema: str | None = None

    def check(self) -> None:
        for what in ("at", "into"):
            if isinstance(said := getattr(self, what), str):
                raise InvalidOperation(f"{what}={said!r} of {self.partition} is one text: write a list")
        if self.by is not None and not (isinstance(self.by, Partitioning) and self.by.strategy == "range"):
            raise InvalidOperation(
                f"by={self.by!r} of {self.partition}: say Monthly('created_at') or IntRange('id', step=1000000)"
            )
        if bool(self.at) != bool(self.into):
            raise InvalidOperation(
                f"{self.partition}: at= says where it is cut and into= what the pieces are called: say both"
            )
        if self.at and (self.by is not None or self.start is not None):
            raise InvalidOperation(f"{self.partition}: say at= and into=, or by= and start=")
        for name in self.into:
            check_name(name, "a piece")

    @property
    def title(self) -> str:
        return f"{self.directive} {self.partition} of {self.table}"

    @property
    def said(self) -> dict[str, Any]:
        """How it is cut, as it is remembered."""
        by = None if self.by is None else repr(self.by)
        return {"by": by, "start": self.start, "at": list(self.at), "into": list(self.into)}

    def place(self, db: Catalog) -> Place:
        """Look the table up, and refuse one that is not partitioned by ranges of a column."""
        db.require_pgopt()
        table = db.table(self.table, self.schema)
        strategy = db.partition_strategy(table)
        if strategy != "r":
            how = {"l": "partitioned by lists", "h": "partitioned by a hash"}.get(strategy or "", "not partitioned")
            raise InvalidOperation(f"{table} is {how}: only ranges are split")
        key = db.partition_key(table)
        if len(key) != 1 or key[0] is None:
            raise InvalidOperation(
                f"{table} is partitioned by more than one column, or by an expression: only one column's ranges are split"
            )
        schema = self.partition_schema or table.schema
        return Place(table, self.partition, schema, db.column(table, key[0]))


@operation("split_partition")
class SplitPartition(PiecesOperation):
    """Cut a partition into several while the table is read and written: a big first one, or a default that has filled up.

    Its rows are copied to pieces while triggers note what changes meanwhile, compared, and swapped in one short transaction
    (ACCESS EXCLUSIVE on the table and its partitions). The partition's table stays, empty, for the way back. Needs
    `install_pgopt`::

        op.split_partition("audit_logs", "audit_logs_phistory")

    The pieces are periods as ``by`` says, or as the table's own partitions are; rows before ``start`` share one. Or say where it
    is cut: ``at=["2025-01-01 00:00+00"], into=["logs_old", "logs_2025"]``. Of a default only the rows that are in it get
    partitions, or those between the ends in ``at``; what is left, and what comes, goes to a default of the same name.
    """

    def reverse(self) -> MergePartitions:
        return other(MergePartitions, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        place = self.place(db)
        if place.is_split(db):
            return ()
        rows = db.session.rows(
            sql(
                "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = {}"
                " and not exists (select from pg_inherits where inhrelid = i.indexrelid) order by 1",
                literal(self._part(db, place).oid),
            )
        )
        said = [f"index {name} is on {self.partition} alone: the pieces will have none like it" for (name,) in rows]
        invalid = [key.name for key in db.foreign_keys(place.table) if not key.valid]
        return [
            *said,
            *(f"foreign key {name} is NOT VALID: it is checked first, and valid from then on" for name in invalid),
            *compiled.notes(db, self.partition),
        ]

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        place = self.place(db)
        known = Split.of(db, place.table, place.name, place.schema)
        yield from unsettled_foreign_keys(db, place.table)
        if known is None:
            yield from self._splitting(db, place).steps(db)
            yield from settle_foreign_keys(place.table.name, place.table.schema)
            return
        if known.said != self.said:
            raise InvalidOperation(
                f"{self.partition} of {place.table} is split already, but in another way: merge it first"
            )
        yield forget_merge(db, place, known)

    def _part(self, db: Catalog, place: Place) -> Relation:
        part = db.table(self.partition, place.schema)
        there = next((each for each in siblings(db, place.table) if each.oid == part.oid), None)
        if there is None or there.pending:
            raise InvalidOperation(f"{part} is no partition of {place.table}")
        return part

    def _splitting(self, db: Catalog, place: Place) -> Splitting:
        part = self._part(db, place)
        with db.session.rolled_back():
            db.session.run(QUALIFIED)
            place.refuse(db, [part], place.changes, anew=True)
        with read_alike(db):
            bounds = next(each.bounds for each in siblings(db, place.table) if each.oid == part.oid)
            within = db.session.value(sql("select pg_get_partition_constraintdef({}::oid)", literal(part.oid)))
        begun = db.relation(place.staging, place.table.schema) is not None
        pieces = [] if begun else self._pieces(db, place, part, bounds)
        return Splitting(
            place.table, place.name, place.schema, place.column, part, bounds, pieces, self.said, within or "true"
        )

    def _pieces(self, db: Catalog, place: Place, part: Relation, bounds: Bounds | None) -> list[Piece]:
        named = self._named(db, place, part, bounds) if self.at else self._periods(db, place, part, bounds)
        pieces = [Piece(name, each) for name, each in named]
        if bounds is None:
            pieces.append(Piece(beside(place.name, REST), None))
        self._refuse_overlaps(db, place, part, [each for _, each in named])
        for name, _ in named:
            if db.relation(name, place.table.schema) is not None:
                raise InvalidOperation(
                    f"a piece of {part} is to be called {name}, and there is one: rename it, or say at= and into="
                )
        return pieces

    def _refuse_overlaps(self, db: Catalog, place: Place, part: Relation, ranges: Sequence[Bounds]) -> None:
        for there in siblings(db, place.table):
            for each in ranges:
                if there.oid == part.oid or there.bounds is None:
                    continue
                if db.session.value(sql("select {}", each.overlaps(there.bounds, place.column.type))):
                    raise InvalidOperation(
                        f"{there.name} of {place.table} already holds part of these bounds: {there.text}"
                    )

    def _periods(self, db: Catalog, place: Place, part: Relation, bounds: Bounds | None) -> list[tuple[str, Bounds]]:
        cut = by_periods(db, place.table, part, self._by(db, place), bounds, self.start)
        name = "select pgopt.partition_name({}, {})"
        return [
            (str(db.session.value(sql(name, literal(place.table.name), literal(suffix)))), each) for suffix, each in cut
        ]

    def _by(self, db: Catalog, place: Place) -> dict[str, Any]:
        if self.by is not None:
            if self.by.column != place.column.name:
                raise InvalidOperation(
                    f"{place.table} is partitioned by {place.column.name}, and not by {self.by.column}"
                )
            return self.by.described(db, place.table)
        memory = Memory.of(db, place.table)
        if memory is None or memory.by.get("kind") not in ("time", "int"):
            raise InvalidOperation(f"pgopt does not know how {place.table} is partitioned: say by=, or at= and into=")
        return memory.by

    def _named(self, db: Catalog, place: Place, part: Relation, bounds: Bounds | None) -> list[tuple[str, Bounds]]:
        ranges = by_ends(bounds, self.at)
        if len(ranges) != len(self.into) or not ranges:
            raise InvalidOperation(
                f"{len(self.at)} ends in at= cut {part} into {len(ranges)} pieces, but into= names {len(self.into)}"
            )
        refuse_vague(db, self.partition, place.column.type, self.at)
        refuse_disorder(db, self.partition, place.column.type, ranges)
        return list(zip(self.into, ranges, strict=True))


@operation("merge_partitions")
class MergePartitions(PiecesOperation):
    """Put one partition in the place of those that `split_partition` has made of it, with the rows that they have by now.

    Also weeks later, when some of them are gone or others have come: what is within the bounds is merged. The rows are copied
    to the table that was the partition, whose indexes it has kept, while triggers note what changes meanwhile, compared, and
    swapped in one short transaction (ACCESS EXCLUSIVE on the table and its partitions). Needs `install_pgopt`. With
    the arguments of `split_partition` it can be undone::

        op.merge_partitions("audit_logs", "audit_logs_phistory")
    """

    def reverse(self) -> SplitPartition:
        return other(SplitPartition, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        return compiled.notes(db, self.partition) if self.place(db).is_split(db) else ()

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        place = self.place(db)
        known = Split.of(db, place.table, place.name, place.schema)
        yield from unsettled_foreign_keys(db, place.table)
        if known is not None:
            yield from self._merging(db, place, known).steps(db)
            yield from settle_foreign_keys(place.table.name, place.table.schema)
            return
        part = db.relation(self.partition, place.schema)
        if part is None or part.parent != place.table.oid:
            raise InvalidOperation(f"pgopt knows of no partition {self.partition} of {place.table} that it has split")
        yield forget_split(place, part)

    def _merging(self, db: Catalog, place: Place, known: Split) -> Merging:
        whole = db.by_oid(known.whole)
        parts = known.parts(db, place.table, place.column.type)
        begun = place.changes_back.exists(db)
        if not begun and db.has_rows(whole):
            raise InvalidOperation(
                f"{whole}, to which the pieces are to be merged, has rows of its own: move them first"
            )
        with db.session.rolled_back():
            db.session.run(QUALIFIED)
            place.refuse(db, parts, place.changes_back, anew=False)
            place.refuse_misfit(db, whole, watched=begun)
        return Merging(place.table, place.name, place.schema, place.column, whole, known, parts)
