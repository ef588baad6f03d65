"""Materialized views: created, dropped and refreshed while the application is at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from pgopt.copy import views_beside
from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import queries_of_views as views
from pgopt.operations import watched_views as watching
from pgopt.operations.base import StateOperation, operation, other
from pgopt.operations.index_steps import create_statement
from pgopt.operations.indexes import CreateIndexConcurrently
from pgopt.operations.jobs import EVERY, ScheduleJob, UnscheduleJob
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import TableNamed
from pgopt.server.quoting import (
    check_name,
    column_name,
    dollars,
    ident,
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
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


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
    refresh: str | None = None
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
        if self.refresh is not None and self.query is not None:
            self._check_refresh(self.refresh)

    def _check_refresh(self, when: str) -> None:
        if not self.unique:
            raise InvalidOperation(
                f"{self.name} is to be refreshed again and again, and readers would wait: say unique=, the columns that tell its rows"
                " apart, so that it can be done concurrently"
            )
        self.job(when).check()

    def subject(self, db: Catalog) -> TableNamed:  # noqa: ARG002
        return TableNamed(self.name, self.schema, may_be_missing=True)

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

    def job(self, when: str) -> ScheduleJob:
        """The job that refreshes the view."""
        every = when.removeprefix(EVERY) if when.startswith(EVERY) else None
        command = sql("call pgopt.refresh_all(array[{}]::regclass[])", literal(render(self.ident)))
        return ScheduleJob(self.job_name, render(command), cron=None if every else when, every=every)

    @property
    def job_name(self) -> str:
        """The name of that job."""
        return f"refresh {'.'.join(filter(None, (self.schema, self.name)))}"

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
        there = views_beside.definition(db, view)
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
    then, and for ``refresh``, which schedules a job by a cron expression in UTC or an interval, and wants ``unique``; where the role of
    who runs jobs has another search path, say ``schema``::

        op.create_materialized_view(
            "user_tokens", 'select "userId", sum(tokens) as tokens from "TokenUsage" group by 1',
            unique=["userId"], indexes=["tokens desc"], depends_on=["TokenUsage"], refresh="every 5 minutes",
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
                locks = views_beside.locks_of(db, self.query)
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
            db.require_pgopt()
            yield watching.begin(db, self.name, self.ident, self.sources(db))
        if self.refresh is not None:
            yield from self.job(self.refresh).plan(db)

    def _understood(self, db: Catalog) -> Wanted:
        if not self.depends_on:
            return views.understood(db, self.query)
        db.require_pgopt()
        wanted = views.understood(db, self.query, watching.array(self.sources(db)))
        if wanted.unseen:
            raise InvalidOperation(
                f"nobody could know for certain that {self.name} needs no refresh: {'; '.join(wanted.unseen)}:"
                " leave depends_on out, or change the query"
            )
        return wanted

    def _create(self) -> Iterator[Composable]:
        data = verbatim("with data" if self.with_data else "with no data")
        yield sql("create materialized view {} as {}\n{}", self.ident, verbatim(views_beside.bare(self.query)), data)
        for each in self.all_indexes:
            yield create_statement(each, ident(each.name), self.ident)
        if self.with_data:
            yield sql("analyze {}", self.ident)

    def _note(self) -> Iterator[Composable]:
        if self.with_data:
            yield self.in_pgopt(sql("pgopt.made({}::regclass, 'created', now())", literal(render(self.ident))))


# grants may come back where the role has default privileges
_LOST = """
    select obj_description(c.oid, 'pg_class'::name), c.reloptions::text,
           case when pg_get_userbyid(c.relowner) <> current_user then pg_get_userbyid(c.relowner) end,
           case when not exists (select from pg_default_acl d where d.defaclobjtype = 'r' and d.defaclrole = c.relowner)
                     and exists (select x::text from aclexplode(c.relacl) x except select x::text from aclexplode(acldefault('r', c.relowner)) x)
               then c.relacl::text end
    from pg_class c where c.oid = {}
"""


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
            watched = bool(db.installed()) and watching.is_watched(db, view)
        if self._is_scheduled(db):
            job = UnscheduleJob(self.job_name) if self.refresh is None else self.job(self.refresh).reverse()
            yield from job.plan(db)
        if watched:
            yield watching.end(db, self.name, view, self.ident, self.sources(db))
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
        return [Lock(Mode.ACCESS_EXCLUSIVE, view.name, view.schema, by_owner=True), *indexes]

    def _is_scheduled(self, db: Catalog) -> bool:
        if self.refresh is not None or not db.online or not db.installed():
            return self.refresh is not None
        return UnscheduleJob(self.job_name).is_there(db)

    def _check(self, db: Catalog, view: Relation) -> None:
        if users := views.resting_on(db, view):
            raise InvalidOperation(f"{view} is read by {', '.join(users)}: drop or change them first")
        if self.query is None:
            return
        self.same_or_refuse(db, view, views.understood(db, self.query))
        ours = {each.name for each in self.all_indexes}
        more = [each.name for each in db.indexes_on(view) if each.name not in ours]
        found = db.session.row(sql(_LOST, literal(view.oid)))
        whats = ("the index", "the comment", "the parameters", "the owner", "the grants")
        for what, value in zip(whats, [more and more[0], *found], strict=True):
            if value:
                raise InvalidOperation(
                    f"{view} has {what} {value!r}, which would not come back: take it off first, or drop the view without its query"
                )
