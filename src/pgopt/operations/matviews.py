"""Materialized views: created, dropped and refreshed while the application is at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import queries_of_views as views
from pgopt.operations.base import Action, StateOperation, operation, other
from pgopt.operations.index_steps import create_statement
from pgopt.operations.indexes import CreateIndexConcurrently
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import (
    check_name,
    column_name,
    dollars,
    ident,
    joined,
    literal,
    name_of,
    render,
    sql,
    verbatim,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.operations.queries_of_views import Wanted
    from pgopt.server.catalog import Catalog, Relation


@dataclass(frozen=True, repr=False)
class ViewOperation(StateOperation):
    """A materialized view by its name and definition."""

    name: str
    query: Any = None
    _: KW_ONLY
    unique: Sequence[str] = ()
    indexes: Sequence[Any] = ()
    with_data: bool = True
    depends_on: Sequence[Any] = ()
    schema: str | None = None

    def check(self) -> None:
        """Refuse what no database would take."""
        check_name(self.name, "a materialized view")
        for what in ("unique", "indexes", "depends_on"):
            if isinstance(getattr(self, what), str):
                raise InvalidOperation(f"{what}={getattr(self, what)!r} of {self.name} is one text: write a list")
        for text in self.unique:
            if column_name(text) is None:
                raise InvalidOperation(
                    f"unique={text!r} of {self.name} is an expression, and a concurrent refresh needs plain columns: add a column to the query"
                )

    def subject(self, db: Catalog) -> str:
        return str(views.find(db, self.name, self.schema) or ".".join(filter(None, (self.schema, self.name))))

    @property
    def ident(self) -> Composable:
        """The quoted name."""
        return ident(self.schema, self.name)

    @property
    def all_indexes(self) -> Iterator[CreateIndexConcurrently]:
        """The indexes, each as the operation that would make it."""
        if self.unique:
            name = name_of("ux", self.name, *(column_name(text) or "" for text in self.unique))
            yield CreateIndexConcurrently(name, self.name, self.unique, unique=True, schema=self.schema)
        for each in self.indexes:
            columns = [each] if isinstance(each, str) else each
            yield CreateIndexConcurrently(None, self.name, columns, schema=self.schema)

    def sources(self, db: Catalog) -> list[Relation]:
        """Look up the tables that the view depends on, with their partitions."""
        found: list[Relation] = []
        for each in self.depends_on:
            table = db.table(each, self.schema) if isinstance(each, str) else db.table(each[1], each[0])
            found += [table, *db.descendants(table)]
        return list(dict.fromkeys(found))

    def in_pgopt(self, call: Composable) -> Composable:
        """Write a call of a function of the pgopt schema, for where that is installed."""
        return dollars(
            lambda tag: sql(
                "do {} begin if to_regclass('pgopt.materialized') is not null then perform {}; end if; end {}",
                tag,
                call,
                tag,
            )
        )

    def same_or_refuse(self, db: Catalog, view: Relation, wanted: Wanted) -> None:
        """Take a view with an equal query for the operation's own, and refuse another one of that name."""
        there = views.definition(db, view)
        if there != wanted.definition:
            raise views.others(
                f"there is a materialized view {view} already, and its query is another (replace_materialized_view changes it)",
                there,
                wanted.definition,
            )


@operation("create_materialized_view")
class CreateMaterializedView(ViewOperation):
    """Make a materialized view with its indexes, filled at once.

    Takes ACCESS SHARE on what its query reads for as long as that takes: nobody waits. The query is text or a SQLAlchemy
    select. ``unique`` names the columns that tell its rows apart, without which it cannot be refreshed concurrently;
    ``indexes`` are lists of columns, further ones are made by `create_index_concurrently`. An equal view of that name counts as
    done; another one is an error that shows both.

    With ``depends_on``, which names all tables that it reads, statement triggers note their changes (SHARE ROW EXCLUSIVE for
    an instant; a writing transaction notes one row), and a refresh with nothing to do is skipped. It is refused where nobody can
    know that for certain: for a query with stable functions such as ``now()``, or of materialized views. Needs `install_pgopt`
    then::

        op.create_materialized_view(
            "user_tokens", 'select "userId", sum(tokens) as tokens from "TokenUsage" group by 1',
            unique=["userId"], indexes=["tokens desc"], depends_on=["TokenUsage"],
        )
    """

    query: Any

    def reverse(self) -> DropMaterializedView:
        return other(DropMaterializedView, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        there = views.find(db, self.name, self.schema) if db.online else None
        locks: list[Lock] = []
        if db.online:
            wanted = self._understood(db)
            if there is not None:
                self.same_or_refuse(db, there, wanted)
            else:
                locks = views.locks_of(db, self.query)
        yield Step(
            f"create materialized view {self.name}",
            [*self._create(), *self._note()],
            locks=locks,
            done=lambda db: views.find(db, self.name, self.schema) is not None,
        )
        if there is not None:
            for each in self.all_indexes:
                yield from each.plan(db)
        if self.depends_on:
            yield self._watch(db)

    def _understood(self, db: Catalog) -> Wanted:
        if not self.depends_on:
            return views.understood(db, self.query)
        db.require_pgopt()
        wanted = views.understood(db, self.query, _array(self.sources(db)))
        if wanted.unseen:
            raise InvalidOperation(
                f"nobody could know for certain that {self.name} has nothing to do: {'; '.join(wanted.unseen)}:"
                " leave depends_on out, or change what it reads"
            )
        return wanted

    def _create(self) -> Iterator[Composable]:
        data = verbatim("with data" if self.with_data else "with no data")
        yield sql("create materialized view {} as {}\n{}", self.ident, verbatim(views.bare(self.query)), data)
        for each in self.all_indexes:
            yield create_statement(each, ident(each.name), self.ident)
        if self.with_data:
            yield sql("analyze {}", self.ident)

    def _note(self) -> Iterator[Composable]:
        if self.with_data:
            yield self.in_pgopt(sql("pgopt.made({}::regclass, 'created', now())", literal(render(self.ident))))

    def _watch(self, db: Catalog) -> Step:
        db.require_pgopt()
        view, tables = literal(render(self.ident)), self.sources(db)
        return Step(
            f"note changes for {self.name}",
            sql("select pgopt.watch({}::regclass, {})", view, _array(tables)),
            locks=[Lock(Mode.SHARE_ROW_EXCLUSIVE, each.name, each.schema) for each in tables if not _noted(db, each)],
            done=lambda db: bool(
                db.session.value(sql("select not exists (select from pgopt.unwatched({}::regclass))", view))
            ),
        )


@operation("drop_materialized_view")
class DropMaterializedView(ViewOperation):
    """Drop a materialized view; ACCESS EXCLUSIVE on it for an instant, and on tables whose changes were noted for it.

    With its definition it can be undone, and refuses to lose what would not come back. What reads it is never dropped::

        op.drop_materialized_view("user_tokens")
    """

    def reverse(self) -> CreateMaterializedView:
        if self.query is None:
            raise NotReversible(f"{self.title}: say its query, so that it can be made again")
        return other(CreateMaterializedView, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        view = views.find(db, self.name, self.schema)
        watched = bool(self.depends_on)
        if db.online and view is not None:
            self._check(db, view)
            watched = bool(db.installed()) and _is_watched(db, view)
        if watched:
            yield self._unwatch(db, view)
        name = literal(render(self.ident))
        yield Step(
            f"drop materialized view {self.name}",
            [
                self.in_pgopt(sql("pgopt.forget({}::regclass)", name)),
                sql("drop materialized view {}", self.ident),
            ],
            locks=self._locks(db, view),
            done=lambda db: views.find(db, self.name, self.schema) is None,
        )

    def _locks(self, db: Catalog, view: Relation | None) -> list[Lock]:
        if not db.online or view is None:
            return []
        indexes = [Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True) for each in db.indexes_on(view)]
        return [Lock(Mode.ACCESS_EXCLUSIVE, view.name, view.schema, is_view=True), *indexes]

    def _unwatch(self, db: Catalog, view: Relation | None) -> Step:
        name = literal(render(self.ident))
        alone = _alone_watched(db, view) if db.online and view else self.sources(db)
        return Step(
            f"note changes for {self.name} no longer",
            sql("select pgopt.unwatch({}::regclass)", name),
            locks=[Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in alone],
            done=lambda db: view is None or not _is_watched(db, view),
        )

    def _check(self, db: Catalog, view: Relation) -> None:
        if users := views.resting_on(db, view):
            raise InvalidOperation(f"{view} is read by {', '.join(users)}: drop or change them first")
        if self.query is None:
            return
        self.same_or_refuse(db, view, views.understood(db, self.query))
        ours = {each.name for each in self.all_indexes}
        more = [each.name for each in db.indexes_on(view) if each.name not in ours]
        comment, options = db.session.row(
            sql(
                "select obj_description(oid, 'pg_class'), reloptions::text from pg_class where oid = {}",
                literal(view.oid),
            )
        )
        for what, value in (("the index", more and more[0]), ("the comment", comment), ("the parameters", options)):
            if value:
                raise InvalidOperation(
                    f"{view} has {what} {value!r}, which would not come back: take it off first, or drop the view without its query"
                )


@operation("refresh_materialized_view")
class RefreshMaterializedView(Action):
    """Refresh a materialized view, and write down in `pgopt.refresh` what came of it.

    Concurrently where it can be, unless ``concurrently`` says otherwise: that takes EXCLUSIVE on the view, and readers go on.
    The plain refresh takes ACCESS EXCLUSIVE for as long as the query runs, and readers wait. Both take ACCESS SHARE on what
    the query reads. Where another refresh is under way, it is waited for. The query runs with an empty search path, as on 17
    always. Needs `install_pgopt`::

        op.refresh_materialized_view("user_tokens", concurrently=True)
    """

    name: str
    _: KW_ONLY
    concurrently: bool | None = None
    schema: str | None = None

    def check(self) -> None:
        check_name(self.name, "a materialized view")

    def subject(self, db: Catalog) -> str:
        return str(views.get(db, self.name, self.schema))

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
            Lock(mode, view.name, view.schema, is_foreign=True),
            *views.locks_of(db, views.definition(db, view)),
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


def _array(tables: Sequence[Relation]) -> Composable:
    return sql("array[{}]::regclass[]", joined(literal(render(each.ident)) for each in tables))


def _not_concurrently(db: Catalog, view: Relation) -> str | None:
    reason: str | None = db.session.value(sql("select pgopt.not_concurrently({}::oid)", literal(view.oid)))
    return reason


def _noted(db: Catalog, table: Relation) -> bool:
    """Whether changes of a table are noted already."""
    trigger = "select exists (select from pg_trigger where tgrelid = {} and tgname = 'pgopt_dirty')"
    return db.online and bool(db.session.value(sql(trigger, literal(table.oid))))


def _is_watched(db: Catalog, view: Relation) -> bool:
    watched = "select exists (select from pgopt.source where view = {}::oid)"
    return bool(db.session.value(sql(watched, literal(view.oid))))


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
