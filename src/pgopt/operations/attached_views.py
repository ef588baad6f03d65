"""Materialized views on a table that was attached: only after the swap are its rows in the partitioned one that they are to read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgopt.copy.compiled import Compiled
from pgopt.copy.followers import Followers, clear_left, first_of_each
from pgopt.copy.memory import Memory
from pgopt.copy.move import (
    locks_on_watched,
    watch_instead,
)
from pgopt.copy.shape import (
    QUALIFIED,
)
from pgopt.copy.views_beside import exchange_locks
from pgopt.plan.step import Step
from pgopt.server.quoting import literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


def read_instead(db: Catalog, memory: Memory) -> list[Relation]:
    """Give the partition that materialized views still read in the table's stead, because a run was interrupted."""
    if not memory.was.get("views") or memory.plain is None or not db.is_there(memory.plain):
        return []
    return [db.by_oid(memory.plain)]


def settle_views(db: Catalog, table: Relation, partition: Relation) -> Iterator[Step]:
    """Give the steps that an interrupted run has left to do."""
    memory = Memory.of(db, table)
    if memory is None or not read_instead(db, memory):
        yield clear_left(table.name, table.schema)
        return
    yield from build_views(db, followers_of(db, table, partition, memory.was["views"]), partition)


def followers_of(db: Catalog, table: Relation, source: Relation, among: list[int] | None = None) -> Followers:
    """Look up the views on a table, or some of them, that are to read the partitioned one."""

    def over(db: Catalog) -> bool:
        there = db.relation(table.name, table.schema)
        memory = Memory.of(db, there) if there is not None and there.oid != source.oid else None
        return memory is not None and not memory.was.get("views")

    found = Followers.of(db, table.name, over, source)
    return found if among is None else replace(found, views=[each for each in found.views if each.oid in among])


def build_views(db: Catalog, followers: Followers, partition: Relation) -> Iterator[Step]:
    """Fill the views that are defined over the table, and let them take the places of the old ones."""
    if not followers.views:
        return
    table, schema = followers.target, partition.schema
    yield from followers.fill(db)
    compiled = Compiled(followers.views[0].schema, *followers.names)

    def statements(db: Catalog) -> Iterator[Composable]:
        yield verbatim(QUALIFIED)
        exchanged = followers.exchanged(db)
        yield from exchanged.take_places()
        yield from exchanged.give()
        parent = db.table(table, schema)
        yield from watch_instead(db, partition, parent)
        yield sql("update pgopt.partitioned set was = was - 'views' where relation = {}::oid", literal(parent.oid))
        yield from compiled.renew()

    watched = locks_on_watched(db, partition, table)
    yield Step(
        f"swap {', '.join(map(str, followers.views))} for those that read the partitioned {table}",
        statements,
        locks=[*first_of_each(exchange_locks(db, followers.views), watched), *watched],
        done=followers.over,
        before=[compiled.look()],
    )
