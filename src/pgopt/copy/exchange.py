"""A table and another that takes its place: filled while the first is in use, verified, and swapped in an instant."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from pgopt.copy.changes import Changes
from pgopt.copy.compiled import Compiled
from pgopt.copy.filling import Filling
from pgopt.copy.followers import Followers
from pgopt.copy.incoming import add_foreign_key
from pgopt.copy.move import Move, close, have_planned, locks_on_parts, rename_index, watch_instead
from pgopt.copy.shape import (
    GONE,
    QUALIFIED,
    Index,
    beside,
    foreign_keys_of,
    foreign_keys_to,
    in_order,
    indexes_of,
    other,
    refuse_unlockable,
    tree,
)
from pgopt.plan.step import DrainStep, Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.plan.step import AnyStep
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True)
class Exchange:
    """A table on its way from one form to the other, plain or partitioned."""

    table: Relation
    """As it is now."""
    form: str
    """What it is to become."""
    key: Sequence[str]
    """Tells its rows apart, in both forms."""
    column: str
    """By which it is partitioned, in one of the forms."""
    index: Callable[[Index], Index]
    """Makes an index of the other form out of one that the table has."""
    finish: Callable[[Catalog], Iterable[Composable]] = field(default=lambda _: ())
    """What else is said in the transaction of the swap."""
    also: Sequence[Lock] = ()
    """What that takes locks on."""
    keep: bool = True
    """Whether the table is kept beside the other and follows it, for the way back."""
    instead: Sequence[Relation] = ()
    """Partitions that materialized views read in the table's stead, where an interrupted run has left them so."""

    @property
    def target(self) -> str:
        """The name of the other one until it takes the table's place."""
        return beside(self.table.name, self.form)

    @property
    def aside(self) -> str:
        """The name of the table when it has given up its place."""
        return beside(self.table.name, self.aside_form)

    @property
    def aside_form(self) -> str:
        """What the table is when it has given up its place."""
        return other(self.form) if self.keep else GONE

    @property
    def match(self) -> Sequence[str]:
        """The columns by which rows of both are matched: with the partition's, only one partition is looked at."""
        return [*self.key, *([] if self.column in self.key else [self.column])]

    @property
    def changes(self) -> Changes:
        """The log of what happens to the table."""
        return Changes(self.table.schema, self.table.name, self.form)

    @property
    def changes_back(self) -> Changes:
        """The log of what happens to the other one once it has the place."""
        return Changes(self.table.schema, self.table.name, other(self.form))

    # -- before the swap -------------------------------------------------------------------------------------------------

    @property
    def filling(self) -> Filling:
        """How the other one gets its rows."""
        return Filling(self.table, self.target, self.key, self.match, self.changes, self._is_swapped)

    def copy(self, db: Catalog) -> Iterator[AnyStep]:
        """Give the steps that fill the other one."""
        indexes = [
            (found.name, beside(found.name, self.form), self.index(found)) for found in indexes_of(db, self.table)
        ]
        yield from self.filling.copy(db, indexes)

    def follow(self, db: Catalog) -> Iterator[DrainStep]:
        """Do to the other one what was done to the table."""
        yield from self.filling.follow(db)

    def prepare_way_back(self) -> Iterator[Step]:
        """Put the triggers on the other one that will note its changes; they note nothing yet."""
        back = self.changes_back

        def statements(db: Catalog) -> Iterator[Composable]:
            yield from back.create(self.table, self.match)
            for each in tree(db, db.table(self.target, self.table.schema)):
                yield from back.watch(each)

        yield Step(
            f"prepare the way back of {self.table}",
            statements,
            locks=[Lock(Mode.ACCESS_SHARE, self.table.name, self.table.schema)],
            done=back.exists,
            beside=self.filling.parts,
        )

    def _is_swapped(self, db: Catalog) -> bool:
        there = db.relation(self.table.name, self.table.schema)
        return there is None or there.oid != self.table.oid

    # -- the swap --------------------------------------------------------------------------------------------------------

    def swap(
        self,
        db: Catalog,
        *,
        before: Sequence[Step] = (),
        then: Callable[[Catalog], Iterable[Composable]] = lambda _: (),
    ) -> Iterator[Step]:
        """Let the other one take the table's place, with all that belongs to it and the views that are built over it."""
        refuse_unlockable(db, tree(db, self.table))
        followers = Followers.of(db, self.target, self._is_swapped, self.table, *self.instead)
        yield from followers.steps(db)
        compiled = Compiled(self.table.schema, self.table.name, *followers.names)
        yield Step(
            f"swap {self.table} for its copy",
            partial(self._swap, followers=followers, then=then, compiled=compiled),
            locks=self.swap_locks(db, followers),
            done=self._is_swapped,
            before=[*self.follow(db), *before, have_planned(), compiled.look()],
            beside=lambda db: [*self.filling.beside(db), *followers.built(db)],
        )

    def swap_locks(self, db: Catalog, followers: Followers) -> list[Lock]:
        """Give what is locked: views first, as those who read them do."""
        referents = [db.by_oid(key.referent) for key in foreign_keys_of(db, self.table)]
        referencing = [db.by_oid(key.owner) for key in foreign_keys_to(db, self.table)]
        there = db.relation(self.target, self.table.schema)
        roots = [self.table, *([there] if there else [])]
        tables = in_order(referencing, [*tree(db, self.table), *roots], referents)
        return [
            *followers.locks(db, *tables),
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in tables),
            *self.also,
            *locks_on_parts(db, *roots),
        ]

    def _swap(
        self,
        db: Catalog,
        followers: Followers,
        then: Callable[[Catalog], Iterable[Composable]],
        compiled: Compiled,
    ) -> Iterator[Composable]:
        yield verbatim(QUALIFIED)
        yield self.changes.replay(None)
        yield from then(db)
        target = db.table(self.target, self.table.schema)
        yield from self._take_place(db, target, followers)
        yield from self.changes.drop()
        new = replace(target, name=self.table.name)
        old = replace(self.table, name=self.aside)
        yield sql("delete from pgopt.copy where source = {}::oid::regclass", literal(self.table.oid))
        if self.keep:
            yield from self.changes_back.begin(db, new, old, self.match)
            yield self.changes_back.remember(new, old, self.key, ready=True)
        yield from self.finish(db)
        yield from compiled.renew()

    def _take_place(self, db: Catalog, target: Relation, followers: Followers) -> Iterator[Composable]:
        views = followers.exchanged(db)
        move = Move(db, self.table, target, self.aside)
        yield from views.take_places()
        yield from move.take()
        if self.table.partitioned and not self.keep:
            yield close(move.aside)
        for key in move.foreign_keys:
            yield sql("alter table {} drop constraint {}", move.aside, ident(key.name))
        for index in move.indexes:
            yield rename_index(self.table, index.name, beside(index.name, self.aside_form))
            yield rename_index(self.table, beside(index.name, self.form), index.name)
        yield from move.give()
        yield from views.give()
        yield from watch_instead(db, self.table, target)
        new = replace(target, name=self.table.name)
        for key in move.foreign_keys:
            yield from add_foreign_key(db, new, key.name, key.definition, key.comment)
