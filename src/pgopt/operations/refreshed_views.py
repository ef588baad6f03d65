"""Materialized views are refreshed, and what came of it is written down."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import TYPE_CHECKING

from pgopt.copy import views_beside
from pgopt.errors import InvalidOperation
from pgopt.operations import queries_of_views as views
from pgopt.operations.base import Action, operation
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import TableNamed
from pgopt.server.quoting import check_name, dollars, literal, render, sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@operation("refresh_materialized_view")
class RefreshMaterializedView(Action):
    """Refresh a materialized view, and write down in `pgopt.refresh` what came of it.

    Concurrently where it can be, unless ``concurrently`` says otherwise: that takes EXCLUSIVE on the view, and readers go on.
    The plain refresh takes ACCESS EXCLUSIVE for as long as the query runs, and readers wait. Both take ACCESS SHARE on what
    the query reads. Where another refresh is under way, it is waited for. The query runs with an empty search path, as it
    always does from 17 on. Needs `install_pgopt`::

        op.refresh_materialized_view("user_tokens", concurrently=True)
    """

    name: str
    _: KW_ONLY
    concurrently: bool | None = None
    schema: str | None = None

    def check(self) -> None:
        check_name(self.name, "a materialized view")

    def subject(self, db: Catalog) -> TableNamed:  # noqa: ARG002
        return TableNamed(self.name, self.schema, may_be_missing=True)

    def plan(self, db: Catalog) -> Iterator[Step]:
        view = views.get(db, self.name, self.schema)
        db.require_pgopt()
        if db.online and self.concurrently and (reason := _not_concurrently(db, view)):
            raise InvalidOperation(f"{reason}: create one, or say concurrently=False")
        name = literal(render(view.ident))
        refresh = sql("pgopt.refresh({}::regclass, {}, force => true)", name, literal(self.concurrently))
        yield Step(
            f"refresh {self.name}",
            dollars(lambda tag: sql(_REFRESH, tag=tag, refresh=refresh)),
            locks=self._locks(db, view) if db.online else (),
        )
        yield Step(
            f"look whether {self.name} was refreshed",
            dollars(lambda tag: sql(_LOOK, tag=tag, view=name)),
        )

    def _locks(self, db: Catalog, view: Relation) -> list[Lock]:
        populated = db.session.value(sql("select relispopulated from pg_class where oid = {}", literal(view.oid)))
        beside = populated and self.concurrently is not False and _not_concurrently(db, view) is None
        mode = Mode.EXCLUSIVE if beside else Mode.ACCESS_EXCLUSIVE
        return [
            Lock(mode, view.name, view.schema, by_statement=True),
            *views_beside.locks_of(db, views_beside.definition(db, view)),
            *(
                Lock(Mode.ROW_EXCLUSIVE if beside else Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True)
                for each in db.indexes_on(view)
                if not beside
            ),
        ]


# a failure is written down, so it must not fail this transaction
_REFRESH = """do {tag} declare it record; begin
    select * into it from {refresh};
    if it.outcome = 'skipped' then
        raise exception using errcode = 'lock_not_available', message = it.detail;
    end if;
end {tag}"""
_LOOK = """do {tag} declare said text := (select error from pgopt.materialized where view = {view}::regclass and failures > 0); begin
    if said is not null then
        raise exception using message = said;
    end if;
end {tag}"""


def _not_concurrently(db: Catalog, view: Relation) -> str | None:
    reason: str | None = db.session.value(sql("select pgopt.not_concurrently({}::oid)", literal(view.oid)))
    return reason
