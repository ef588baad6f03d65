"""A materialized view gets another query: built beside the old one, then swapped in an instant."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any

from pgopt.copy import compiled, followers, views_beside
from pgopt.copy.shape import rights_to
from pgopt.errors import InvalidOperation, NeedsDatabase, NotReversible
from pgopt.operations import queries_of_views as views
from pgopt.operations.base import StateOperation, operation
from pgopt.operations.view_exchange import Exchange
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import TableNamed
from pgopt.server.queries import query
from pgopt.server.quoting import check_name, literal, render, sql
from pgopt.server.unseen import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgopt.operations.queries_of_views import Wanted
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@operation("replace_materialized_view")
class ReplaceMaterializedView(StateOperation):
    """Give a materialized view another query under the same name: never a moment without it, or without its indexes.

    The new one is built and indexed beside the old (ACCESS SHARE on what it reads, nobody waits), then both are swapped under
    ACCESS EXCLUSIVE for an instant. Its indexes, owner, grants, comments, statistics, storage parameters and the views on top
    of it are there afterwards; materialized views that read it are built anew beside it and swapped with it (those that read
    it through a view want a refresh afterwards). What cannot follow is listed before anything is changed: a column that is
    gone or has another type and is used, a function that is bound to it. Must see the database::

        op.replace_materialized_view(
            "user_tokens", 'select "userId", sum(tokens) as tokens, max(timestamp) as last from "TokenUsage" group by 1',
            old='select "userId", sum(tokens) as tokens from "TokenUsage" group by 1',
        )
    """

    name: str
    query: Any
    _: KW_ONLY
    old: Any = None
    schema: str | None = None

    def check(self) -> None:
        check_name(self.name, "a materialized view")

    def reverse(self) -> ReplaceMaterializedView:
        if self.old is None:
            raise NotReversible(f"{self.title}: say old=, the query that it had, so that it can have it again")
        return ReplaceMaterializedView(self.name, self.old, old=self.query, schema=self.schema)

    def subject(self, db: Catalog) -> TableNamed:  # noqa: ARG002
        return TableNamed(self.name, self.schema, may_be_missing=True)

    def notes(self, db: Catalog) -> Sequence[str]:
        view = views.get(db, self.name, self.schema)
        if views_beside.definition(db, view) == views.understood(db, self.query).definition:
            return ()
        return compiled.notes(db, *(each.name for each in views_beside.on_top(db, view)))

    def plan(self, db: Catalog) -> Iterator[Step]:
        if not db.online:
            raise NeedsDatabase(UNSEEN)
        view = views.get(db, self.name, self.schema)
        wanted, there = views.understood(db, self.query, replaced=view), views_beside.definition(db, view)
        found = views_beside.on_top(db, view)
        views_beside.refuse_users(db, views_beside.left_beside(db, found))
        # it may be older than what is there by now
        yield views_beside.drop_left(f"drop what an interrupted run has left of {view}", found)
        if there != wanted.definition:
            self._check_old(db, view, there)
            _check(db, found, wanted)
            yield from Exchange(found, self.query).steps(db)
        for each in found:
            yield _analyze(each)

    def _check_old(self, db: Catalog, view: Relation, there: str) -> None:
        if self.old is not None and there != (old := views.understood(db, self.old).definition):
            raise views.others(f"the query of {view} is neither this nor what old= says", there, old)


def _analyze(view: Relation) -> Step:
    """Fill the extended statistics, which came along without what they say."""
    unfilled = query("unfilled_statistics", views.PACKAGE, view=literal(render(view.ident)))
    return Step(
        f"analyze {view}",
        sql("analyze {}", view.ident),
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, view.name, view.schema, by_statement=True)],
        done=lambda db: not db.session.value(unfilled),
    )


def _check(db: Catalog, found: Sequence[Relation], wanted: Wanted) -> None:
    """List all that cannot follow."""
    left = views_beside.left_beside(db, found)
    reasons = [reason for each in found for reason in followers.obstacles_of(db, each, left)]
    reasons += [reason for each in found for reason in views_beside.taken_by_others(db, each, views_beside.NEW, left)]
    # the query of the first, and its columns, are others
    reasons += [*wanted.hidden, *(reason for each in found[1:] for reason in followers.seen_by_owner(db, each, each))]
    reasons += rights_to(db, found, moved=found, anew=found[1:])
    reasons += _lost_columns(db, found[0], wanted)
    if len(found) > 1:
        reasons += followers.against_shadow(db, found[0], found[1:])
    if reasons:
        lines = "".join(f"\n  {reason}" for reason in reasons)
        raise InvalidOperation(f"{found[0]} cannot be replaced as it is:{lines}")


def _lost_columns(db: Catalog, view: Relation, wanted: Wanted) -> Iterator[str]:
    there, new = ({each.name: each.type for each in columns} for columns in (db.columns(view), wanted.columns))
    users: Sequence[tuple[str, bool, str]] = db.session.rows(
        query("used_columns", views.PACKAGE, view=literal(view.oid))
    )
    for column, is_view, what in users:
        if column not in new:
            yield f"the new query has no column {column!r}, which has {what}: keep it, or drop that first"
        elif is_view and new[column] != there[column]:
            yield (
                f"column {column!r} is {new[column]} in the new query, and {what} has it as {there[column]}: cast it, or drop that first"
            )
