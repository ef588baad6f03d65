"""What an interrupted split or merge has left, and how it goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.copy.bounds import default_of
from pgopt.copy.shape import in_order, proof_of, tree
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.copy.pieces import Split
    from pgopt.operations.split_steps import Place
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

AX = Mode.ACCESS_EXCLUSIVE


def forget_split(place: Place, part: Relation) -> Step:
    """Drop the pieces of a partition that is still there, with the log of its changes."""

    def is_gone(db: Catalog) -> bool:
        staging = db.relation(place.staging, place.table.schema)
        return staging is None and not place.changes.exists(db) and _kept_out(db, place) is None

    def statements(db: Catalog) -> Iterator[Composable]:
        yield from place.changes.drop()
        yield sql("delete from pgopt.copy where source = {}::oid", literal(part.oid))
        yield sql("drop table if exists {}", ident(place.table.schema, place.staging))
        yield from _let_default_in(db, place)

    def clear(db: Catalog) -> Iterator[Step]:
        staging = db.relation(place.staging, place.table.schema)
        dropped = tree(db, staging) if staging else []
        yield Step(
            f"drop the pieces of {part}", statements, locks=_locks(db, place, place.changes.watched(db), dropped)
        )

    return Step(f"see that no pieces of {part} are left", [], done=is_gone, clear=clear)


def forget_merge(db: Catalog, place: Place, known: Split) -> Step:
    """Empty the table to which pieces were to be merged, with the log of their changes."""
    whole = db.by_oid(known.whole)

    def is_gone(db: Catalog) -> bool:
        bound = db.constraint(whole, proof_of(whole))
        return bound is None and not place.changes_back.exists(db) and _kept_out(db, place) is None

    def statements(db: Catalog) -> Iterator[Composable]:
        yield from place.changes_back.drop()
        yield sql("delete from pgopt.copy where source = {}::oid", literal(place.table.oid))
        yield sql("truncate {}", whole.ident)
        yield sql("alter table {} drop constraint if exists {}", whole.ident, ident(proof_of(whole)))
        yield from _let_default_in(db, place)

    def clear(db: Catalog) -> Iterator[Step]:
        watched = place.changes_back.watched(db)
        yield Step(f"empty {whole} again", statements, locks=_locks(db, place, watched, [whole]))

    return Step(f"see that nothing is in {whole}", [], done=is_gone, clear=clear)


def _kept_out(db: Catalog, place: Place) -> Relation | None:
    """Give the default that has a CHECK for the sake of this place."""
    default = default_of(db, place.table)
    return default if default is not None and db.constraint(default, place.proof) is not None else None


def _let_default_in(db: Catalog, place: Place) -> Iterator[Composable]:
    if (default := _kept_out(db, place)) is not None:
        yield sql("alter table {} drop constraint {}", default.ident, ident(place.proof))


def _locks(db: Catalog, place: Place, watched: Sequence[Relation], cleared: Sequence[Relation]) -> list[Lock]:
    default = _kept_out(db, place)
    tables = in_order([], [*watched, *([default] if default else []), *cleared], [])
    return [
        *(Lock(AX, each.name, each.schema) for each in tables),
        *(Lock(AX, each.name, each.schema, is_index=True) for each in db.indexes_on(*cleared)),
    ]
