"""What the planner knows of a table, when another takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.copy.shape import PACKAGE, tree
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

SINCE = 180000
"""Since when statistics can be given, and a partitioned table be analyzed without its partitions."""


def notes(db: Catalog, table: Relation) -> Iterator[str]:
    """Say what was told of a table that the planner does not ask of a partitioned one, and that no partition gets unasked."""
    rows = db.session.rows(query("told_of_whole", PACKAGE, table=literal(table.oid)))
    for (column,) in rows:
        yield (
            f"n_distinct of {column} is not read where a table is partitioned: say n_distinct_inherited of it, and n_distinct on its"
            " partitions"
        )


def analyze(name: str, schema: str | None) -> Step:
    """Gather statistics of a partitioned table as a whole, which autovacuum never does, unless it was given some."""

    def statements(db: Catalog) -> Iterator[Composable]:
        table = db.table(name, schema)
        alone = db.version >= SINCE and all(_is_known(db, each) or _is_empty(db, each) for each in tree(db, table)[1:])
        yield sql("analyze {}{}", verbatim("only " if alone else ""), table.ident)

    return Step(
        f"analyze {name}",
        statements,
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, name, schema)],
        done=lambda db: _is_given(db, db.table(name, schema)),
    )


def give(db: Catalog, table: Relation, parent: str) -> Iterator[Step]:
    """Let the planner know of a partitioned table what it knows of the one that will have all its rows.

    A sample of its only partition with rows is one of the whole, so nothing is read, and there is no moment without
    statistics. Where the planner does not know the table, or not by now, the whole is left to be analyzed.
    """
    if db.version < SINCE:
        return
    names = {"schema": literal(table.schema), "target": literal(parent)}

    def statements(db: Catalog) -> Iterator[Composable]:
        # an interrupted run may have given some that are old by now
        yield sql("select pg_clear_relation_stats({}, {})", *names.values())
        if _can_be_given(db, table):
            yield query("statistics_given", PACKAGE, table=literal(table.name), oid=literal(table.oid), **names)

    def is_done(db: Catalog) -> bool:
        there = db.relation(parent, table.schema)
        return there is None or not (_is_given(db, there) or _can_be_given(db, table))

    there = db.relation(parent, table.schema)
    yield Step(
        f"let the planner know of the partitioned {table} what it knows of it",
        statements,
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, there.name, there.schema)] if there else [],
        done=is_done,
    )


def _is_known(db: Catalog, table: Relation) -> bool:
    return bool(db.session.value(query("statistics_known", PACKAGE, table=literal(table.oid))))


def _is_given(db: Catalog, table: Relation) -> bool:
    return bool(db.session.value(sql("select reltuples >= 0 from pg_class where oid = {}", literal(table.oid))))


def _is_empty(db: Catalog, table: Relation) -> bool:
    return table.partitioned or not db.session.value(sql("select exists (select from only {})", table.ident))


def _can_be_given(db: Catalog, table: Relation) -> bool:
    bound = db.session.value(query("statistics_bound", PACKAGE, table=literal(table.oid)))
    return not bound and _is_known(db, table)
