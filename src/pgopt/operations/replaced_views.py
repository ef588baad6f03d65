"""A materialized view gets another query: built beside the old one, then swapped in an instant."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from pgopt.copy.move import Move, locks_on_views, rename_index
from pgopt.copy.shape import GONE, QUALIFIED, beside, indexes_of
from pgopt.copy.shape import PACKAGE as COPY
from pgopt.errors import InvalidOperation, NeedsDatabase, NotReversible
from pgopt.operations import queries_of_views as views
from pgopt.operations.base import StateOperation, operation
from pgopt.plan.step import Step
from pgopt.server.catalog import UNSEEN
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import check_name, ident, literal, options, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.operations.queries_of_views import Wanted
    from pgopt.server.catalog import Catalog, Relation

NEW = "new"


@operation("replace_materialized_view")
class ReplaceMaterializedView(StateOperation):
    """Give a materialized view another query under the same name: never a moment without it, or without its indexes.

    The new one is built and indexed beside the old (ACCESS SHARE on what it reads, nobody waits), then both are swapped under
    ACCESS EXCLUSIVE for an instant. Its indexes, owner, grants, comments, statistics, storage parameters and the views on top
    of it are there afterwards; what cannot follow is listed before anything is changed: a column that is gone or has another
    type and is used, or a materialized view on top. Views follow by CREATE OR REPLACE. Must see the database::

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

    def subject(self, db: Catalog) -> str:
        return str(views.get(db, self.name, self.schema))

    def plan(self, db: Catalog) -> Iterator[Step]:
        if not db.online:
            raise NeedsDatabase(UNSEEN)
        view = views.get(db, self.name, self.schema)
        wanted, there = views.understood(db, self.query), views.definition(db, view)
        new = beside(view.name, NEW)
        yield Step(
            f"drop what an interrupted run has left of {view}",
            sql("drop materialized view if exists {}", ident(view.schema, new)),
            done=lambda db: views.find(db, new, view.schema) is None,
        )
        if there != wanted.definition:
            self._check_old(db, view, there)
            _check(db, view, wanted)
            exchange = _Exchange(view, self.query)
            yield from exchange.steps(db)
        yield _analyze(view)

    def _check_old(self, db: Catalog, view: Relation, there: str) -> None:
        if self.old is not None and there != (old := views.understood(db, self.old).definition):
            raise views.others(f"the query of {view} is neither this nor what old= says", there, old)


@dataclass(frozen=True)
class _Exchange:
    """A materialized view and the one that takes its place."""

    view: Relation
    query: str

    @property
    def new(self) -> str:
        """The name of the other one until then."""
        return beside(self.view.name, NEW)

    @property
    def aside(self) -> str:
        """The name of the view when it has given up its place."""
        return beside(self.view.name, GONE)

    def steps(self, db: Catalog) -> Iterator[Step]:
        """Give the steps."""
        yield Step(
            f"build {self.view} with its new query beside the old",
            self._build,
            locks=views.locks_of(db, self.query),
            done=self._is_swapped,
        )
        yield Step(f"swap {self.view} for the new one", self._swap, locks=self._locks(db), done=self._is_swapped)

    def _is_swapped(self, db: Catalog) -> bool:
        there = db.relation(self.view.name, self.view.schema)
        return there is None or there.oid != self.view.oid

    def _build(self, db: Catalog) -> Iterator[Composable]:
        new = ident(self.view.schema, self.new)
        method, space, filled, owner = db.session.row(query("made_like", views.PACKAGE, view=literal(self.view.oid)))
        yield sql(
            "create materialized view {} using {}{}{} as {}\n{}",
            new,
            ident(method),
            _with(db, self.view),
            sql(" tablespace {}", ident(space)) if space else verbatim(""),
            verbatim(views.bare(self.query)),
            verbatim("with data" if filled else "with no data"),
        )
        yield verbatim(QUALIFIED)
        for index in indexes_of(db, self.view):
            yield index.create(beside(index.name, NEW), new)
        for column, target in db.session.rows(query("own_targets", views.PACKAGE, view=literal(self.view.oid))):
            yield sql("alter table {} alter column {} set statistics {}", new, ident(column), literal(target))
        yield sql("analyze {}", new)
        yield sql("alter materialized view {} owner to {}", new, ident(owner))
        if filled and db.installed():
            yield sql("select pgopt.made({}::regclass, 'replaced', now())", literal(render(new)))

    def _swap(self, db: Catalog) -> Iterator[Composable]:
        yield verbatim(QUALIFIED)
        move = Move(db, self.view, views.get(db, self.new, self.view.schema), self.aside)
        yield from move.take()
        for index in move.indexes:
            yield rename_index(self.view, index.name, beside(index.name, GONE))
            yield rename_index(self.view, beside(index.name, NEW), index.name)
        yield from move.give()
        if db.installed():
            oids = map(literal, (self.view.oid, move.target.oid))
            yield sql("select pgopt.moved({}::oid, {}::oid)", *oids)
        yield sql("drop materialized view {}", move.aside)

    def _locks(self, db: Catalog) -> list[Lock]:
        read = db.session.rows(query("read_beside", views.PACKAGE, view=literal(self.view.oid)))
        return [
            *locks_on_views(db, self.view),
            Lock(Mode.ACCESS_EXCLUSIVE, self.view.name, self.view.schema, is_view=True),
            *(Lock(Mode.ACCESS_SHARE, name, schema, is_foreign=True) for schema, name in read),
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True) for each in db.indexes_on(self.view)),
        ]


def _with(db: Catalog, view: Relation) -> Composable:
    """Write the storage parameters that a view has."""
    parameters = {name: value for each in db.storage(view) for name, value in each.parameters.items()}
    return sql(" with ({})", options(parameters)) if parameters else verbatim("")


def _analyze(view: Relation) -> Step:
    """Fill the extended statistics, which came along without what they say."""
    unfilled = query("unfilled_statistics", views.PACKAGE, view=literal(render(view.ident)))
    return Step(
        f"analyze {view}",
        sql("analyze {}", view.ident),
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, view.name, view.schema, is_foreign=True)],
        done=lambda db: not db.session.value(unfilled),
    )


def _check(db: Catalog, view: Relation, wanted: Wanted) -> None:
    """List all that cannot follow."""
    found = query("obstacles", COPY, table=literal(view.oid), proof=literal(""), ours=literal([]))
    reasons = [*(said for (said,) in db.session.rows(found)), *_lost_columns(db, view, wanted)]
    if taken := db.relation(beside(view.name, GONE), view.schema):
        reasons.append(f"{taken} has the name that the old one takes for an instant: rename it")
    if reasons:
        lines = "".join(f"\n  {reason}" for reason in reasons)
        raise InvalidOperation(f"{view} cannot be replaced as it is:{lines}")


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
