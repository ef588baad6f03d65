"""A materialized view and those that read it, on their way to others that take their places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pgopt.copy import views_beside as beside
from pgopt.copy.compiled import Compiled
from pgopt.copy.move import have_planned
from pgopt.copy.shape import QUALIFIED
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode, lock_tables
from pgopt.server.quoting import block, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True)
class Exchange:
    """A materialized view that gets another query, with those on top of it, which are built anew."""

    views: Sequence[Relation]
    """Each after those that it reads."""
    query: str
    """Of the first."""

    def steps(self, db: Catalog) -> Iterator[Step]:
        """Give the steps."""
        first, *on_top = self.views
        yield Step(
            f"build {first} with its new query beside the old",
            self._build_first,
            locks=beside.locks_of(db, self.query),
            done=self._is_swapped,
        )
        for number, view in enumerate(on_top, 1):
            # read beforehand, since that locks what the old one reads
            text = beside.definition(db, view, *beside.schemas(self._below(number)))
            yield Step(
                f"build {view}, which reads it, beside the old",
                partial(self._build_on_top, number=number, text=text),
                locks=self._locks_of(db, view),
                done=self._is_swapped,
                beside=partial(beside.built_beside, views=self.views[:number]),
            )
        compiled = Compiled(first.schema, *(each.name for each in self.views))
        yield Step(
            f"swap {', '.join(map(str, self.views))} for the new",
            partial(self._swap, compiled=compiled),
            locks=beside.exchange_locks(db, self.views, dropped=False),
            done=self._is_swapped,
            before=[have_planned(), compiled.look()],
            beside=partial(beside.built_beside, views=self.views),
        )
        # when nobody waits any more for its files to go
        yield beside.drop_left(f"drop what {', '.join(map(str, self.views))} was", self.views)

    def _is_swapped(self, db: Catalog) -> bool:
        there = db.relation(self.views[0].name, self.views[0].schema)
        return there is None or there.oid != self.views[0].oid

    # -- building --------------------------------------------------------------------------------------------------------

    def _build_first(self, db: Catalog) -> Iterator[Composable]:
        yield beside.create(db, self.views[0], self.query)
        yield beside.mark(beside.StandIn.of(self.views[0]).ident)
        yield from beside.dress(db, self.views[0])

    def _build_on_top(self, db: Catalog, number: int, text: str) -> Iterator[Composable]:
        """Build a view whose query finds the new ones under the names of the old."""
        view, below = self.views[number], self._below(number)
        yield from beside.under_their_names(below, beside.create(db, view, text))
        yield beside.mark(beside.StandIn.of(view).ident)
        beside.check_reads(db, view, below)
        yield from beside.dress(db, view)

    def _below(self, number: int) -> list[beside.StandIn]:
        return [beside.StandIn.of(each) for each in self.views[:number]]

    def _locks_of(self, db: Catalog, view: Relation) -> list[Lock]:
        replaced = {(each.name, each.schema) for each in self.views}
        read = beside.locks_of(db, beside.definition(db, view))
        return [lock for lock in read if (lock.name, lock.schema) not in replaced]

    # -- the swap --------------------------------------------------------------------------------------------------------

    def _swap(self, db: Catalog, compiled: Compiled) -> Iterator[Composable]:
        yield verbatim(QUALIFIED)
        # a view without an index has the one lock of this step, which is not taken before
        yield from lock_tables(
            [Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, by_owner=True) for each in self.views]
        )
        exchanged = beside.Exchanged(db, self.views)
        beside.refuse_others(db, self.views)
        # nor for the way there and back of each
        known = (sql("perform {}", call) for call in exchanged.remember())
        given = (*exchanged.give_belongings(), *exchanged.mark(), *known, *compiled.renew())
        yield block([*exchanged.take_places(), *given])
