"""A materialized view and those that read it, on their way to others that take their places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pgopt.copy.move import Move, locks_on_views, rename_index
from pgopt.copy.shape import GONE, QUALIFIED, beside, indexes_of
from pgopt.errors import StatementFailed
from pgopt.operations import queries_of_views as views
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, options, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

NEW = "new"
SHADOW = "pgopt_shadow"
"""The schema in which new views have the names that they are to have; it never outlives the transaction that makes it."""


@dataclass(frozen=True)
class Exchange:
    """A materialized view that gets another query, with those on top of it, which are built anew."""

    views: Sequence[Relation]
    """Each after those that it reads."""
    query: str
    """Of the first."""
    known: bool
    """Whether the pgopt schema is there, in which refreshes are written down."""

    def steps(self, db: Catalog) -> Iterator[Step]:
        """Give the steps."""
        first, *on_top = self.views
        yield Step(
            f"build {first} with its new query beside the old",
            self._build_first,
            locks=views.locks_of(db, self.query),
            done=self._is_swapped,
        )
        for number, view in enumerate(on_top, 1):
            # read beforehand, since that locks what the old one reads
            text = views.definition(db, view, *_schemas(self.views[:number]))
            yield Step(
                f"build {view}, which reads it, beside the old",
                partial(self._build_on_top, number=number, text=text),
                locks=self._locks_of(db, view),
                done=self._is_swapped,
            )
        yield Step(
            f"swap {', '.join(map(str, self.views))} for the new",
            self._swap,
            locks=self._swap_locks(db),
            done=self._is_swapped,
        )

    def _is_swapped(self, db: Catalog) -> bool:
        there = db.relation(self.views[0].name, self.views[0].schema)
        return there is None or there.oid != self.views[0].oid

    # -- building --------------------------------------------------------------------------------------------------------

    def _build_first(self, db: Catalog) -> Iterator[Composable]:
        yield _create(db, self.views[0], self.query)
        yield from _dress(db, self.views[0])

    def _build_on_top(self, db: Catalog, number: int, text: str) -> Iterator[Composable]:
        """Build a view whose query finds the new ones under the names of the old: they are in a schema that comes first."""
        view, below = self.views[number], self.views[:number]
        yield sql("create schema {}", ident(SHADOW))
        for each in below:
            yield sql(
                "alter materialized view {} set schema {}", ident(each.schema, beside(each.name, NEW)), ident(SHADOW)
            )
            yield _rename(SHADOW, beside(each.name, NEW), each.name)
        yield sql("set local search_path = {}", joined(map(ident, [SHADOW, *_schemas(below)])))
        yield _create(db, view, text)
        for each in below:
            yield _rename(SHADOW, each.name, beside(each.name, NEW))
            yield sql(
                "alter materialized view {} set schema {}", ident(SHADOW, beside(each.name, NEW)), ident(each.schema)
            )
        yield sql("drop schema {}", ident(SHADOW))
        self._check_reads(db, view, below)
        yield from _dress(db, view)

    def _check_reads(self, db: Catalog, view: Relation, below: Sequence[Relation]) -> None:
        """See that the new view reads the new ones instead of the old, and else what the old one reads."""
        became = {each.oid: views.get(db, beside(each.name, NEW), each.schema).oid for each in below}
        new = views.get(db, beside(view.name, NEW), view.schema)
        if {became.get(oid, oid) for oid in _read_from(db, view)} != _read_from(db, new):
            raise StatementFailed(
                f"the names in the query of {view} mean other relations beside the old ones: drop it before, and create it after"
            )

    def _locks_of(self, db: Catalog, view: Relation) -> list[Lock]:
        replaced = {(each.name, each.schema) for each in self.views}
        read = views.locks_of(db, views.definition(db, view))
        return [lock for lock in read if (lock.name, lock.schema) not in replaced]

    # -- the swap --------------------------------------------------------------------------------------------------------

    def _swap(self, db: Catalog) -> Iterator[Composable]:
        yield verbatim(QUALIFIED)
        # all is read before anything is renamed: definitions name the old ones
        moves = [
            Move(db, each, views.get(db, beside(each.name, NEW), each.schema), beside(each.name, GONE))
            for each in self.views
        ]
        for move in moves:
            yield from move.take()
            for index in move.indexes:
                yield rename_index(move.source, index.name, beside(index.name, GONE))
        for move in moves:
            for index in move.indexes:
                yield rename_index(move.source, beside(index.name, NEW), index.name)
            yield _rename(move.target.schema, move.target.name, move.source.name)
        for move in moves:
            yield from move.give_belongings()
            if self.known:
                yield sql("select pgopt.moved({}::oid, {}::oid)", literal(move.source.oid), literal(move.target.oid))
        yield sql("drop materialized view {}", joined(move.aside for move in moves))

    def _swap_locks(self, db: Catalog) -> list[Lock]:
        oids = literal([each.oid for each in self.views])
        read = db.session.rows(query("read_beside", views.PACKAGE, views=oids))
        return [
            *dict.fromkeys(lock for each in self.views for lock in locks_on_views(db, each)),
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_view=True) for each in self.views),
            *(Lock(Mode.ACCESS_SHARE, name, schema, by_statement=True) for schema, name in read),
            *(
                Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True)
                for each in db.indexes_on(*self.views)
            ),
        ]


def _create(db: Catalog, view: Relation, text: str) -> Composable:
    """Write how a view beside another is made like it, with a query."""
    method, space, filled, _ = _made_like(db, view)
    return sql(
        "create materialized view {} using {}{}{} as {}\n{}",
        ident(view.schema, beside(view.name, NEW)),
        ident(method),
        _with(db, view),
        sql(" tablespace {}", ident(space)) if space else verbatim(""),
        verbatim(views.bare(text)),
        verbatim("with data" if filled else "with no data"),
    )


def _dress(db: Catalog, view: Relation) -> Iterator[Composable]:
    """Give the new view what takes long: indexes and statistics; and its owner."""
    new = ident(view.schema, beside(view.name, NEW))
    *_, filled, owner = _made_like(db, view)
    yield verbatim(QUALIFIED)
    for index in indexes_of(db, view):
        yield index.create(beside(index.name, NEW), new)
    for column, target in db.session.rows(query("own_targets", views.PACKAGE, view=literal(view.oid))):
        yield sql("alter table {} alter column {} set statistics {}", new, ident(column), literal(target))
    yield sql("analyze {}", new)
    yield sql("alter materialized view {} owner to {}", new, ident(owner))
    if filled and db.installed():
        yield sql("select pgopt.made({}::regclass, 'replaced', now())", literal(render(new)))


def _made_like(db: Catalog, view: Relation) -> tuple[str, str | None, bool, str]:
    method, space, filled, owner = db.session.row(query("made_like", views.PACKAGE, view=literal(view.oid)))
    return method, space, filled, owner


def _with(db: Catalog, view: Relation) -> Composable:
    """Write the storage parameters that a view has."""
    parameters = {name: value for each in db.storage(view) for name, value in each.parameters.items()}
    return sql(" with ({})", options(parameters)) if parameters else verbatim("")


def _rename(schema: str | None, name: str, new: str) -> Composable:
    return sql("alter materialized view {} rename to {}", ident(schema, name), ident(new))


def _schemas(found: Sequence[Relation]) -> list[str | None]:
    return list(dict.fromkeys(each.schema for each in found))


def _read_from(db: Catalog, view: Relation) -> set[int]:
    return {oid for (oid,) in db.session.rows(query("read_from", views.PACKAGE, view=literal(view.oid)))}
