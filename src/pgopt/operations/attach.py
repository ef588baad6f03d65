"""A table that becomes the first partition of a new one: nothing is copied."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pgopt.copy import statistics
from pgopt.copy.by import ListOf, list_of, range_of
from pgopt.copy.compiled import Compiled
from pgopt.copy.incoming import drop
from pgopt.copy.move import (
    Move,
    have_planned,
    locks_on_parts,
    rename_index,
    watch_instead,
)
from pgopt.copy.shape import (
    PACKAGE,
    PART,
    PARTED,
    QUALIFIED,
    Index,
    beside,
    foreign_keys_of,
    foreign_keys_to,
    in_order,
    indexes_of,
    like,
    proof_of,
)
from pgopt.errors import InvalidOperation
from pgopt.operations import index_steps
from pgopt.operations.attached_views import build_views, followers_of
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.copy.followers import Followers
    from pgopt.copy.layout import Layout
    from pgopt.copy.memory import Memory
    from pgopt.plan.step import AnyStep
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

AHEAD = 2
"""So many whole periods lie between now and the bound of the first partition."""


@dataclass(frozen=True)
class Attachment:
    """A table on its way to be the first partition of another that has its name."""

    table: Relation
    layout: Layout
    memory: Memory
    bound: str | None
    """The end of its range; a list has none."""

    @classmethod
    def of(cls, db: Catalog, layout: Layout, memory: Memory, known: Memory | None) -> Attachment:
        """Choose the bound, or keep that of an interrupted run while it is far enough away."""
        if isinstance(layout.by, ListOf):
            return cls(layout.table, layout, memory, None)
        chosen = known.was.get("bound") if known else None
        _, last = layout.ends(db, layout.table)
        new, is_far = db.session.row(
            query(
                "bound",
                PACKAGE,
                by=literal(json.dumps(layout.said)),
                last=literal(last),
                chosen=literal(chosen),
                ahead=literal(AHEAD),
            )
        )
        if (bound := chosen if is_far else new) is None:
            raise InvalidOperation(
                f"{layout.by.column} of {layout.table} has come to {last}, and its type ends before the next partitions would begin: say"
                " method='copy'"
            )
        return cls(layout.table, layout, replace(memory, was={**memory.was, "bound": bound}), bound)

    @property
    def condition(self) -> Composable:
        """Say which rows the first partition has."""
        column = ident(self.layout.by.column)
        if isinstance(self.layout.by, ListOf):
            values = next(iter(self.layout.by.values.values()))
            return sql("{} in ({})", column, joined(map(literal, values)))
        return sql("{} < {}", column, literal(self.bound))

    def steps(self, db: Catalog, before: Sequence[Step] = ()) -> Iterator[AnyStep]:
        """Give the steps that make the table the first partition of a new one, with those that come just before the last."""
        proof, table = proof_of(self.table), self.table
        yield Step(
            f"take the bound that comes near from {table}",
            self._take_bound_away,
            locks=[Lock(Mode.ACCESS_EXCLUSIVE, table.name, table.schema)],
            done=self._has_no_other_bound,
        )
        yield Step(
            f"bound {table} for new rows",
            [
                sql(
                    "alter table {} add constraint {} check ({} is not null and {}) not valid",
                    table.ident,
                    ident(proof),
                    ident(self.layout.by.column),
                    self.condition,
                ),
                self.memory.write(table, plain=None),
            ],
            locks=[Lock(Mode.ACCESS_EXCLUSIVE, table.name, table.schema)],
            done=lambda db: db.constraint(table, proof) is not None,
        )
        yield Step(
            f"check the rows of {table} against its bound",
            sql("alter table {} validate constraint {}", table.ident, ident(proof)),
            locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema)],
            done=lambda db: (there := db.constraint(table, proof)) is not None and there.valid,
            explain=lambda _: f"rows of {table} are not all of its first partition, {self._first()}: say method='copy'",
            give_up=[drop_proof(table)],
        )
        for index in self._indexes(db):
            if (new := index.widened(self.layout.by.column)) != index:
                name = beside(index.name, PART)
                yield index_steps.build_by(new.create_concurrently(name, table.ident), name, table)
        yield Step(
            f"make the partitioned {table}",
            self._make,
            locks=[Lock(Mode.ACCESS_SHARE, table.name, table.schema)],
            done=lambda db: db.relation(self.layout.parent, table.schema) is not None,
        )
        yield from statistics.give(db, table, self.layout.parent)
        yield from before
        followers = followers_of(db, table, table)
        compiled = Compiled(table.schema, table.name)
        yield Step(
            f"attach {table} to the partitioned one",
            partial(self._attach, followers=followers, compiled=compiled),
            locks=self._locks(db, followers),
            done=self._is_attached,
            before=[have_planned(), compiled.look()],
            beside=followers.built,
        )
        yield from build_views(db, followers, table)

    def _first(self) -> str:
        if isinstance(self.layout.by, ListOf):
            return repr(next(iter(self.layout.by.values.values())))
        return f"which ends at {self.bound}"

    def _indexes(self, db: Catalog) -> list[Index]:
        with db.session.rolled_back():
            db.session.run(QUALIFIED)
            return indexes_of(db, self.table)

    def _has_no_other_bound(self, db: Catalog) -> bool:
        known = type(self.memory).of(db, self.table)
        return known is None or known.was.get("bound") == self.bound or self._is_attached(db)

    def _take_bound_away(self, db: Catalog) -> Iterator[Composable]:
        yield from drop_proof(self.table).compose(db)
        # its partitions begin where the bound was
        yield sql("drop table if exists {}", ident(self.table.schema, self.layout.parent))

    def _make(self, db: Catalog) -> Iterator[Composable]:
        layout, parent = self.layout, ident(self.table.schema, self.layout.parent)
        yield from like(self.table, layout.parent, sql("partition by {}", layout.by.clause()))
        yield sql("alter table {} drop constraint {}", parent, ident(proof_of(self.table)))
        yield from layout.owned_by(db, parent)
        if layout.default:
            yield from layout.add_default(db)
        for name, bound in layout.after(db, self.bound):
            yield from layout.add(db, name, bound)
        for index in indexes_of(db, self.table):
            if index.name not in self._spare(db):
                yield index.widened(layout.by.column).create(beside(index.name, PARTED), parent)

    def _spare(self, db: Catalog) -> set[str]:
        """Give the names of the indexes that were built for the partition alone."""
        return {beside(index.name, PART) for index in indexes_of(db, self.table)}

    def _locks(self, db: Catalog, followers: Followers) -> list[Lock]:
        referents = [db.by_oid(key.referent) for key in foreign_keys_of(db, self.table)]
        referencing = [db.by_oid(key.owner) for key in foreign_keys_to(db, self.table)]
        column = self.layout.by.column
        dropped = {index.name for index in indexes_of(db, self.table) if index.widened(column) != index}
        tables = in_order(referencing, [self.table], referents)
        return [
            *followers.locks_of_definition(db, *tables),
            # the triggers by which the partition's foreign keys are looked after there are dropped: its parent has them
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in tables),
            *(
                replace(lock, mode=Mode.ACCESS_EXCLUSIVE) if lock.name in dropped else lock
                for lock in locks_on_parts(db, self.table)
            ),
        ]

    def _is_attached(self, db: Catalog) -> bool:
        there = db.relation(self.table.name, self.table.schema)
        return there is None or there.oid != self.table.oid

    def _attach(self, db: Catalog, followers: Followers, compiled: Compiled) -> Iterator[Composable]:
        yield verbatim(QUALIFIED)
        followers.refuse_others(db)
        table, column = self.table, self.layout.by.column
        parent = db.table(self.layout.parent, table.schema)
        partition = self.layout.name(db, "history")
        spare = self._spare(db)
        indexes = [index for index in indexes_of(db, table) if index.name not in spare]
        yield from drop(self.memory.was["incoming"])
        move = Move(db, table, parent, partition)
        texts = followers.texts(db)
        yield from move.take()
        for index in indexes:
            new = index.widened(column)
            if new == index:
                yield rename_index(table, index.name, beside(index.name, PART))
                continue
            yield drop_index(index, move.aside, table)
            if new.constraint is not None:
                yield new.use(beside(index.name, PART), beside(index.name, PART), replace(table, name=partition))
        for index in indexes:
            yield rename_index(table, beside(index.name, PARTED), index.name)
        for key in move.foreign_keys:
            yield sql("alter table {} add constraint {} {}", parent.ident, ident(key.name), verbatim(key.definition))
            if key.comment is not None:
                yield sql("comment on constraint {} on {} is {}", ident(key.name), parent.ident, literal(key.comment))
        yield from move.give()
        bound = (
            list_of(next(iter(self.layout.by.values.values())))
            if isinstance(self.layout.by, ListOf)
            else range_of(None, self.bound)
        )
        yield sql("alter table {} attach partition {} {}", table.ident, move.aside, bound)
        yield from self.memory.widen(db)
        yield sql("delete from pgopt.partitioned where relation = {}::oid", literal(table.oid))
        yield from watch_instead(db, table, parent)
        yield from followers.define_all(db, texts)
        views = {"views": [view.oid for view in followers.views]} if followers.views else {}
        memory = replace(self.memory, was={**self.memory.was, **views})
        yield memory.write(parent, plain=table.oid, attached=True)
        yield from compiled.renew()


def drop_index(index: Index, table: Composable, of: Relation, name: str | None = None) -> Composable:
    """Drop an index with the constraint that it serves."""
    if index.constraint is not None:
        return sql("alter table {} drop constraint {}", table, ident(name or index.name))
    return sql("drop index {}", ident(of.schema, name or index.name))


def drop_proof(table: Relation) -> Step:
    """Take the bound of a table away."""
    return Step(
        f"take the bound from {table}",
        [
            sql("alter table {} drop constraint if exists {}", table.ident, ident(proof_of(table))),
            sql("delete from pgopt.partitioned where relation = {}::oid", literal(table.oid)),
        ],
        locks=[Lock(Mode.ACCESS_EXCLUSIVE, table.name, table.schema)],
        done=lambda db: db.constraint(table, proof_of(table)) is None,
    )


def drop_spare_indexes(db: Catalog, table: Relation, names: list[str], form: str) -> Iterator[Step]:
    """Drop the indexes that were built for another form of a table, which it will not have."""
    for name in names:
        there = db.index(beside(name, form), table.schema)
        if there is not None and there.table == table.oid and there.constraint is None and there.parent is None:
            yield index_steps.drop(there.name, table)
