"""The way back of a table that was attached: it is taken out of the partitioned one, whose place it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pgopt.copy.compiled import Compiled
from pgopt.copy.followers import Followers
from pgopt.copy.move import (
    Move,
    close,
    have_planned,
    is_watched,
    locks_on_parts,
    rename_index,
    watch_instead,
)
from pgopt.copy.shape import (
    GONE,
    PARTED,
    QUALIFIED,
    Index,
    beside,
    foreign_keys_of,
    foreign_keys_to,
    in_order,
    indexes_of,
    proof_of,
    tree,
)
from pgopt.errors import InvalidOperation
from pgopt.operations import index_steps
from pgopt.operations.attach import drop_index
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode, allowed, lock_tables
from pgopt.server.quoting import ident, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.copy.memory import Memory
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True)
class Detachment:
    """The way back of an attached table, as long as no other partition has rows."""

    table: Relation
    """The partitioned one."""
    partition: Relation
    """What is to have its name again."""
    memory: Memory

    @classmethod
    def of(cls, db: Catalog, table: Relation, memory: Memory) -> Detachment | None:
        """Tell whether it is possible: the partition is there, and has all the rows."""
        parts = [each for each in db.descendants(table) if each.kind == "r"]
        partition = next((each for each in parts if each.oid == memory.plain), None)
        if not memory.attached or partition is None:
            return None
        found = cls(table, partition, memory)
        return None if found.others_have_rows(db) else found

    def others_have_rows(self, db: Catalog) -> bool:
        """Whether there are rows in other partitions."""
        return any(map(db.has_rows, self._others(db)))

    def _others(self, db: Catalog) -> list[Relation]:
        return [each for each in db.descendants(self.table) if each.kind == "r" and each.oid != self.partition.oid]

    def steps(self, db: Catalog) -> Iterator[Step]:
        """Give the steps that make the partition the table again."""
        for index in indexes_of(db, self.table):
            if (old := self.memory.narrowed(index)) != index:
                name = beside(index.name, PARTED)
                yield index_steps.build_by(old.create_concurrently(name, self.partition.ident), name, self.partition)
        followers = Followers.of(db, self.partition.name, self._is_back, self.table)
        yield from followers.steps(db)
        compiled = Compiled(self.table.schema, self.table.name, *followers.names)
        yield Step(
            f"take {self.partition} out of {self.table}, in its place",
            partial(self._detach, followers=followers, compiled=compiled),
            locks=self._locks(db, followers),
            done=self._is_back,
            before=[have_planned(), compiled.look()],
            beside=followers.built,
        )

    def _is_back(self, db: Catalog) -> bool:
        there = db.relation(self.table.name, self.table.schema)
        return there is None or there.oid == self.partition.oid

    def _locks(self, db: Catalog, followers: Followers) -> list[Lock]:
        referents = [db.by_oid(key.referent) for key in foreign_keys_of(db, self.table)]
        referencing = [db.by_oid(key.owner) for key in foreign_keys_to(db, self.table)]
        # those who write to a partition itself wait, too: it has no rows, and must not get any; with a foreign key of the
        # table, or one to it, goes that of each partition, and so does what notes changes for materialized views
        all_change = referents or referencing or is_watched(db, self.table)
        mode = Mode.ACCESS_EXCLUSIVE if all_change else Mode.SHARE_ROW_EXCLUSIVE
        locks = dict.fromkeys((each.oid for each in self._others(db)), mode)
        default = db.session.value(
            sql("select partdefid::int8 from pg_partitioned_table where partrelid = {}", literal(self.table.oid))
        )
        alone = (self.table.oid, self.partition.oid, default, *(each.oid for each in (*referents, *referencing)))
        locks |= dict.fromkeys(alone, Mode.ACCESS_EXCLUSIVE)
        parts = {self._part_of(db, index) for index in indexes_of(db, self.table)}
        tables = in_order(referencing, tree(db, self.table), referents)
        return [
            *followers.locks(db, *tables),
            *(Lock(locks[each.oid], each.name, each.schema) for each in tables),
            *self.memory.locks_on_incoming(db, self.table),
            *(
                replace(lock, mode=Mode.ACCESS_EXCLUSIVE) if lock.name in parts else lock
                for lock in locks_on_parts(db, self.table, self.partition)
            ),
        ]

    def _detach(self, db: Catalog, followers: Followers, compiled: Compiled) -> Iterator[Composable]:
        yield verbatim(QUALIFIED)
        others = [Lock(Mode.SHARE_ROW_EXCLUSIVE, each.name, each.schema) for each in self._others(db)]
        # with none of them left to the statement: what is asked now must hold until the end
        yield from lock_tables([replace(lock, by_statement=False) for lock in allowed(db.session, others)])
        if self.others_have_rows(db):
            raise InvalidOperation(
                f"rows came to other partitions of {self.table} than {self.partition}: run again, they are copied then"
            )
        yield from self.memory.drop_widened(db)
        move = Move(db, self.table, self.partition, beside(self.table.name, GONE))
        parts = {index.name: self._part_of(db, index) for index in move.indexes}
        views = followers.exchanged(db)
        yield from views.take_places()
        yield from move.take()
        yield sql("alter table {} detach partition {}", move.aside, self.partition.ident)
        yield close(move.aside)
        for key in move.foreign_keys:
            yield sql("alter table {} drop constraint {}", move.aside, ident(key.name))
        yield sql("alter table {} drop constraint if exists {}", self.partition.ident, ident(proof_of(self.table)))
        for index in move.indexes:
            yield rename_index(self.table, index.name, beside(index.name, GONE))
            old, part = self.memory.narrowed(index), parts[index.name]
            if old == index:
                yield rename_index(self.partition, part, index.name)
            else:
                yield drop_index(index, self.partition.ident, self.partition, part)
                yield old.use(beside(index.name, PARTED), index.name, self.partition)
        yield from move.give()
        yield from views.give()
        yield from watch_instead(db, self.table, self.partition)
        yield from self.memory.give_back(db, table=self.table)
        yield from compiled.renew()

    def _part_of(self, db: Catalog, index: Index) -> str:
        found = db.part(self.partition, self.table.schema, index.name)
        if found is None:
            raise InvalidOperation(
                f"index {index.name} of {self.table} has no part on {self.partition}: reindex it first"
            )
        return found[1]
