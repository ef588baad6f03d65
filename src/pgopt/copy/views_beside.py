"""A materialized view that is built beside another, to take its place: made like it, filled, dressed, and exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.copy.move import Move, locks_on_views, rename_index
from pgopt.copy.shape import GONE, PACKAGE, QUALIFIED, beside, bound_to, indexes_of
from pgopt.errors import InvalidOperation, StatementFailed
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, options, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

NEW = "new"
SHADOW = "pgopt_shadow"
"""The schema in which new relations have the names that they are to have; it never outlives the transaction that makes it."""


MARK = "pgopt: of no use where no operation is running"
"""The comment on what is built beside a view, and on what the view was: so that nothing of anybody else is taken for it."""


@dataclass(frozen=True)
class StandIn:
    """A relation that is to take the place of another."""

    there: Relation
    """The other one."""
    schema: str | None
    name: str
    """Of the new one, as long as the other has its place."""

    @classmethod
    def of(cls, view: Relation) -> StandIn:
        """Say what is built beside a view."""
        return cls(view, view.schema, beside(view.name, NEW))

    @property
    def ident(self) -> Composable:
        """The quoted name of the new one."""
        return ident(self.schema, self.name)

    def find(self, db: Catalog) -> Relation | None:
        """Look the new one up."""
        return db.relation(self.name, self.schema)


def on_top(db: Catalog, relation: Relation) -> list[Relation]:
    """Give a relation and the materialized views that read it, or one of those: each after what it reads."""
    return [db.by_oid(oid) for (oid,) in db.session.rows(query("on_top", PACKAGE, view=literal(relation.oid)))]


def read_from(db: Catalog, view: Relation) -> set[int]:
    """Give what a view reads itself."""
    return {oid for (oid,) in db.session.rows(query("read_from", PACKAGE, view=literal(view.oid)))}


def bare(text: str) -> str:
    """Take from a query the semicolon after it."""
    return text.strip().rstrip(";").rstrip()


def definition(db: Catalog, view: Relation, *bare: str | None) -> str:
    """Give the query of a view as the server writes it, with all names in full but those in some schemas."""
    with db.session.rolled_back():
        db.session.value(QUALIFIED)
        if bare:
            db.session.run(sql("set local search_path = {}", joined(map(ident, bare))))
        return str(db.session.value(sql("select pg_get_viewdef({}::oid)", literal(view.oid))))


def locks_of(db: Catalog, text: str) -> list[Lock]:
    """Give the locks that a query takes on what it reads, also through views.

    The statement takes them itself: LOCK TABLE would ask for rights that who reads through a view need not have.
    """
    with db.session.rolled_back():
        db.session.run(sql("explain {}", verbatim(bare(text))))
        rows = db.session.rows(query("locked", PACKAGE))
    return [Lock(Mode.ACCESS_SHARE, name, schema, by_statement=True) for schema, name in rows]


# -- building ------------------------------------------------------------------------------------------------------------


def create(db: Catalog, view: Relation, text: str, *, filled: bool | None = None) -> Composable:
    """Write how a view beside another is made like it, with a query; filled as the other is, unless that is said."""
    method, space, is_filled, _ = made_like(db, view)
    return sql(
        "create materialized view {} using {}{}{} as {}\n{}",
        StandIn.of(view).ident,
        ident(method),
        _with(db, view),
        sql(" tablespace {}", ident(space)) if space else verbatim(""),
        verbatim(bare(text)),
        verbatim("with data" if (is_filled if filled is None else filled) else "with no data"),
    )


def mark(view: Composable) -> Composable:
    """Write on a view beside another that it is ours; what takes a place gives that up."""
    return sql("comment on materialized view {} is {}", view, literal(MARK))


def is_ours(db: Catalog, view: Relation) -> bool:
    """Whether that is written on a view."""
    comment = sql("select obj_description({}::oid, 'pg_class'::name)", literal(view.oid))
    return view.kind == "m" and db.session.value(comment) == MARK


def under_their_names(stand_ins: Sequence[StandIn], statement: Composable) -> Iterator[Composable]:
    """Send a statement in which names of relations mean those that are to take their places: in a schema that comes first."""
    yield sql("create schema {}", ident(SHADOW))
    for each in stand_ins:
        yield sql("alter table {} set schema {}", each.ident, ident(SHADOW))
        yield sql("alter table {} rename to {}", ident(SHADOW, each.name), ident(each.there.name))
    yield sql("set local search_path = {}", joined(map(ident, [SHADOW, *schemas(stand_ins)])))
    yield statement
    for each in stand_ins:
        yield sql("alter table {} rename to {}", ident(SHADOW, each.there.name), ident(each.name))
        yield sql("alter table {} set schema {}", ident(SHADOW, each.name), ident(each.schema or ""))
    yield sql("drop schema {}", ident(SHADOW))


def schemas(stand_ins: Iterable[StandIn]) -> list[str | None]:
    """Give the schemas whose names are written bare, for `under_their_names`."""
    return list(dict.fromkeys(each.there.schema for each in stand_ins))


def check_reads(db: Catalog, view: Relation, stand_ins: Iterable[StandIn]) -> None:
    """See that the new view reads the new ones instead of the old, and else what the old one reads."""
    became = {each.there.oid: new.oid for each in stand_ins if (new := each.find(db)) is not None}
    new = StandIn.of(view).find(db)
    if new is None or {became.get(oid, oid) for oid in read_from(db, view)} != read_from(db, new):
        raise StatementFailed(
            f"built anew, the query of {view} would read other relations than it does now: drop it before, and create it after"
        )


def dress(db: Catalog, view: Relation) -> Iterator[Composable]:
    """Give the new view what takes long: indexes and statistics; and its owner."""
    new = StandIn.of(view).ident
    *_, filled, owner = made_like(db, view)
    yield verbatim(QUALIFIED)
    for index in indexes_of(db, view):
        # an interrupted run may have made it
        if db.index(beside(index.name, NEW), view.schema) is None:
            yield index.create(beside(index.name, NEW), new)
    for column, target in db.session.rows(query("own_targets", PACKAGE, view=literal(view.oid))):
        yield sql("alter table {} alter column {} set statistics {}", new, ident(column), literal(target))
    yield sql("analyze {}", new)
    yield sql("alter materialized view {} owner to {}", new, ident(owner))
    if filled and db.installed():
        yield sql("select pgopt.made({}::regclass, 'replaced', now())", literal(render(new)))


def made_like(db: Catalog, view: Relation) -> tuple[str, str | None, bool, str]:
    """Give the access method, the tablespace, whether it is filled, and the owner of a view."""
    row = db.session.row(query("made_like", PACKAGE, view=literal(view.oid)))
    if row is None:
        raise StatementFailed(f"{view} was dropped meanwhile: run again")
    method, space, filled, owner = row
    return method, space, filled, owner


def _with(db: Catalog, view: Relation) -> Composable:
    """Write the storage parameters that a view has."""
    parameters = {name: value for each in db.storage(view) for name, value in each.parameters.items()}
    return sql(" with ({})", options(parameters)) if parameters else verbatim("")


# -- the exchange --------------------------------------------------------------------------------------------------------


class Exchanged:
    """Views and those beside them, which take their places in a transaction; to be made before anything in it is renamed."""

    def __init__(self, db: Catalog, views: Sequence[Relation]) -> None:
        self.known = bool(db.installed())
        # all is read before anything is renamed: definitions name the old ones
        self.moves = [Move(db, each, _new(db, each), beside(each.name, GONE)) for each in views]

    def take_places(self) -> Iterator[Composable]:
        """Give the new ones the names of the old, and those of their indexes."""
        for move in self.moves:
            yield from move.take()
            for index in move.indexes:
                yield rename_index(move.source, index.name, beside(index.name, GONE))
        for move in self.moves:
            for index in move.indexes:
                yield rename_index(move.source, beside(index.name, NEW), index.name)
            yield sql("alter table {} rename to {}", move.target.ident, ident(move.source.name))

    def give(self) -> Iterator[Composable]:
        """Give the new ones all that belongs to the old, and drop those."""
        yield from self.give_belongings()
        yield from (sql("select {}", call) for call in self.remember())
        if self.moves:
            yield sql("drop materialized view {}", joined(move.aside for move in self.moves))

    def give_belongings(self) -> Iterator[Composable]:
        """Give the new ones all that belongs to the old."""
        for move in self.moves:
            yield from move.give_belongings()

    def mark(self) -> Iterator[Composable]:
        """Write on the old ones that nobody else has made them; they have lost their comments."""
        for move in self.moves:
            yield mark(move.aside)

    def remember(self) -> Iterator[Composable]:
        """Give the calls that let what is known of the old ones be known of the new."""
        for move in self.moves if self.known else ():
            yield sql("pgopt.moved({}::oid, {}::oid)", literal(move.source.oid), literal(move.target.oid))


def _new(db: Catalog, view: Relation) -> Relation:
    found = StandIn.of(view).find(db)
    if found is None:
        raise StatementFailed(
            f"{view} has no replacement: the view came meanwhile, or the replacement was dropped: run again"
        )
    return found


def exchange_locks(db: Catalog, views: Sequence[Relation], *tables: Relation, dropped: bool = True) -> list[Lock]:
    """Give the locks of an exchange, together with tables: the views on top first, as those who read them do.

    Indexes are renamed, or dropped with the old views.
    """
    on_index = Mode.ACCESS_EXCLUSIVE if dropped else Mode.SHARE_UPDATE_EXCLUSIVE
    read = db.session.rows(query("read_beside", PACKAGE, views=literal([each.oid for each in (*tables, *views)])))
    return [
        *dict.fromkeys(lock for each in (*tables, *views) for lock in locks_on_views(db, each)),
        *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, by_owner=True) for each in views),
        *(Lock(Mode.ACCESS_SHARE, name, schema, by_statement=True) for schema, name in read),
        *(Lock(on_index, each.name, each.schema, is_index=True) for each in db.indexes_on(*views)),
    ]


def built_beside(db: Catalog, views: Iterable[Relation]) -> list[Relation]:
    """Give what is built beside views by now."""
    return [found for each in views if (found := StandIn.of(each).find(db)) is not None]


def refuse_others(db: Catalog, views: Sequence[Relation]) -> None:
    """Refuse to leave with the old views what came to depend on them after the plan was made: asked under their locks."""
    known = {each.oid for each in views}
    came = [str(each) for each in on_top(db, views[0]) if each.oid not in known]
    if came:
        raise StatementFailed(
            f"{', '.join(came)} came meanwhile, and must be built over what takes the place: run again"
        )
    bound = [said for _, said in db.session.rows(bound_to(*views))]
    if bound:
        raise StatementFailed(
            f"this came meanwhile, and keeps {views[0]} from being swapped: {'; '.join(bound)}; then run again"
        )


def left_beside(db: Catalog, views: Iterable[Relation]) -> list[Relation]:
    """Give what is of no use beside views: built for one and never exchanged, or what it was before; with those of ours on top."""
    forms = (db.relation(beside(view.name, form), view.schema) for view in views for form in (NEW, GONE))
    found = [each for each in forms if each is not None and is_ours(db, each)]
    # the view beside which one was built may be gone
    return [
        each for each in {each.oid: each for one in found for each in on_top(db, one)}.values() if is_ours(db, each)
    ]


def taken_by_others(db: Catalog, view: Relation, form: str, left: Sequence[Relation] = ()) -> Iterator[str]:
    """Say what has a name that is wanted beside a view, and is not among what is left and will be dropped."""
    taken = db.relation(beside(view.name, form), view.schema)
    if taken is None or taken in left:
        return
    if is_ours(db, taken):
        yield f"{taken} is left over from a replacement of {view}: drop it"
    else:
        yield f"{taken} has the name that {view} takes for an instant: rename it"


def refuse_users(db: Catalog, left: Sequence[Relation]) -> None:
    """Refuse to drop what is left where somebody uses it."""
    if not left:
        return
    users = [
        what for (what,) in db.session.rows(query("users_of_left", PACKAGE, views=literal([each.oid for each in left])))
    ]
    if users:
        raise InvalidOperation(
            f"{', '.join(map(str, left))} is left over from a replacement and is to be dropped, but {', '.join(users)} uses it:"
            " drop that, or let it use something else, and run again"
        )


def drop_left(label: str, views: Sequence[Relation]) -> Step:
    """Drop that: nobody reads it, and what takes long about it is to let its files go."""

    def statements(db: Catalog) -> Iterator[Composable]:
        left = left_beside(db, views)
        refuse_users(db, left)
        for each in left if db.installed() else ():
            yield sql("select pgopt.forget({}::oid)", literal(each.oid))
        yield sql("drop materialized view {}", joined(each.ident for each in left))

    return Step(label, statements, done=lambda db: not left_beside(db, views), beside=lambda db: left_beside(db, views))
