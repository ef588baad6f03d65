"""The steps that have changes of tables noted for a materialized view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import joined, literal, render, sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


def begin(db: Catalog, name: str, view: Composable, tables: Sequence[Relation]) -> Step:
    """Put the triggers on tables that have none yet."""
    called = literal(render(view))
    return Step(
        f"note changes for {name}",
        sql("select pgopt.watch({}::regclass, {})", called, array(tables)),
        locks=[Lock(Mode.SHARE_ROW_EXCLUSIVE, each.name, each.schema) for each in tables if not _noted(db, each)],
        done=lambda db: bool(
            db.session.value(sql("select not exists (select from pgopt.unwatched({}::regclass))", called))
        ),
    )


def end(db: Catalog, name: str, there: Relation | None, view: Composable, tables: Sequence[Relation]) -> Step:
    """Take the triggers off tables whose changes are noted for nobody else."""
    alone = _alone_watched(db, there) if db.online and there else tables
    return Step(
        f"note changes for {name} no longer",
        sql("select pgopt.unwatch({}::regclass)", literal(render(view))),
        locks=[Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in alone],
        done=lambda db: there is None or not is_watched(db, there),
    )


def array(tables: Sequence[Relation]) -> Composable:
    """Write the names of tables for the server."""
    return sql("array[{}]::regclass[]", joined(literal(render(each.ident)) for each in tables))


def is_watched(db: Catalog, view: Relation) -> bool:
    """Whether changes are noted for a view."""
    watched = "select exists (select from pgopt.source where view = {}::oid)"
    return bool(db.session.value(sql(watched, literal(view.oid))))


def _noted(db: Catalog, table: Relation) -> bool:
    """Whether changes of a table are noted already."""
    trigger = "select exists (select from pg_trigger where tgrelid = {} and tgname = 'pgopt_dirty')"
    return db.online and bool(db.session.value(sql(trigger, literal(table.oid))))


def _alone_watched(db: Catalog, view: Relation) -> list[Relation]:
    """Give the tables whose changes are noted for this view alone."""
    rows = db.session.rows(
        sql(
            "select s.source::oid::int8 from pgopt.source s where s.view = {}::oid"
            " and not exists (select from pgopt.source o where o.source = s.source and o.view <> s.view) order by 1",
            literal(view.oid),
        )
    )
    return [db.by_oid(oid) for (oid,) in rows]
