"""Materialized views that read a table: built over the one that takes its place, and exchanged with it in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pgopt.copy.shape import GONE, PACKAGE, PARTED, PLAIN, QUALIFIED, beside, obstacles_to, tree
from pgopt.copy.views_beside import (
    NEW,
    SHADOW,
    Exchanged,
    StandIn,
    built_beside,
    check_reads,
    create,
    definition,
    dress,
    exchange_locks,
    locks_of,
    made_like,
    mark,
    on_top,
    read_from,
    schemas,
    taken_by_others,
    under_their_names,
)
from pgopt.errors import StatementFailed
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.plan.step import Question
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True)
class Followers:
    """Materialized views on their way from a table to the one that takes its place."""

    target: str
    """The name of the other table until then; it is in the same schema."""
    sources: Sequence[Relation]
    """Whose place it takes: the table, and a partition that some still read in its stead."""
    views: Sequence[Relation]
    """Each after those that it reads."""
    over: Question
    """Whether they are exchanged."""

    @classmethod
    def of(cls, db: Catalog, target: str, over: Question, *sources: Relation) -> Followers:
        """Look up those that read a table, or one of those."""
        return cls(target, sources, readers(db, *sources), over)

    @property
    def names(self) -> list[str]:
        """Their names, which others are to have."""
        return [view.name for view in self.views]

    def steps(self, db: Catalog) -> Iterator[Step]:
        """Give the steps that build them over the other table: defined in an instant, and filled when nobody waits for it."""
        for view in self.views:
            yield self._define(db, view)
        yield from self.fill(db)

    def _below(self, db: Catalog, view: Relation) -> list[StandIn]:
        """Give what takes the place of what a view reads."""
        read = read_from(db, view)
        return [
            *(StandIn(each, each.schema, self.target) for each in self.sources if each.oid in read),
            *(StandIn.of(each) for each in self.views if each.oid in read),
        ]

    def built(self, db: Catalog) -> list[Relation]:
        """Give those that are built by now."""
        return built_beside(db, self.views)

    def _define(self, db: Catalog, view: Relation) -> Step:
        below = self._below(db, view)
        # read beforehand, since that locks what the old one reads
        text = definition(db, view, *schemas(below))
        target = next((each.find(db) for each in below if each.there in self.sources), None)
        moved = [target] if target else []

        def statements(db: Catalog) -> Iterator[Composable]:
            yield from under_their_names(below, create(db, view, text, filled=False))
            yield mark(StandIn.of(view).ident)
            check_reads(db, view, below)
            if not made_like(db, view)[2]:
                yield from dress(db, view)

        return Step(
            f"define {view} over the other form of {self.sources[0]}, beside the old",
            statements,
            locks=[
                *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in moved),
                *(
                    Lock(Mode.ACCESS_SHARE, each.name, each.schema, by_statement=True)
                    for each in self._others(db, view)
                ),
            ],
            done=lambda db: self.over(db) or StandIn.of(view).find(db) is not None,
            beside=lambda db: [found for each in below if (found := each.find(db)) is not None],
        )

    def fill(self, db: Catalog) -> Iterator[Step]:
        """Give the steps that fill those that are defined, and build their indexes."""
        for view in self.views:
            yield Step(
                f"fill {view} beside the old",
                partial(self._fill, view=view),
                locks=[*self._read_by(db, view), *self._instead(db, view)],
                done=partial(self._needs_no_rows, view=view),
            )

    def _fill(self, db: Catalog, view: Relation) -> Iterator[Composable]:
        yield sql("refresh materialized view {}", StandIn.of(view).ident)
        yield from dress(db, view)

    def _needs_no_rows(self, db: Catalog, view: Relation) -> bool:
        # what an interrupted run has filled is filled again: it may be older than what is there by now
        return self.over(db) or not made_like(db, view)[2]

    def _instead(self, db: Catalog, view: Relation) -> list[Lock]:
        """Give the locks on what is read in the table's stead, where that is there before."""
        there = db.relation(self.target, self.sources[0].schema)
        if there is None or not any(each.oid in read_from(db, view) for each in self.sources):
            return []
        return [Lock(Mode.ACCESS_SHARE, each.name, each.schema, by_statement=True) for each in tree(db, there)]

    def _read_by(self, db: Catalog, view: Relation) -> list[Lock]:
        """Give the locks on what a view reads, also through others, beside what others take the place of."""
        others = self._others(db, view)
        return locks_of(db, render(sql("select from {}", joined(each.ident for each in others)))) if others else []

    def _others(self, db: Catalog, view: Relation) -> list[Relation]:
        return [db.by_oid(oid) for oid in read_from(db, view) - {each.oid for each in (*self.sources, *self.views)}]

    # -- where the rows are in the other table only when it has the place: in the transaction of the swap --------------------

    def texts(self, db: Catalog) -> list[str]:
        """Give their queries, before anything is renamed: with the names of what is built beside them bare."""
        return [_text(db, view, schemas(self._beside(db, view))) for view in self.views]

    def define_all(self, db: Catalog, texts: Sequence[str]) -> Iterator[Composable]:
        """Define them over the table that has the place now."""
        for view, text in zip(self.views, texts, strict=True):
            below = self._beside(db, view)
            if below:
                yield from under_their_names(below, create(db, view, text, filled=False))
                yield verbatim(QUALIFIED)
            else:
                yield create(db, view, text, filled=False)
            yield mark(StandIn.of(view).ident)
            if not made_like(db, view)[2]:
                yield from dress(db, view)

    def _beside(self, db: Catalog, view: Relation) -> list[StandIn]:
        return [each for each in self._below(db, view) if each.there not in self.sources]

    def locks_of_definition(self, db: Catalog, *tables: Relation) -> list[Lock]:
        """Give the locks on what they read and on the views on the table, beside some tables."""
        oids = {oid for view in self.views for oid in read_from(db, view)} - {each.oid for each in self.sources}
        # before 16 a view reads itself, too, as its rule was written
        read = [*(db.by_oid(oid) for oid in oids), *(self.views if db.version < 160000 else ())]
        locks = [
            *exchange_locks(db, (), *self.sources),
            *(Lock(Mode.ACCESS_SHARE, each.name, each.schema, by_statement=True) for each in read),
        ]
        return first_of_each(locks, tables)

    # -- the swap, in a transaction in which the search path is empty ----------------------------------------------------

    def exchanged(self, db: Catalog) -> Exchanged:
        """Look at them under the lock; to be done before anything is renamed."""
        there = {each.oid for each in self.refuse_others(db)}
        views = [each for each in self.views if each.oid in there]
        for view in views:
            if made_like(db, view)[2] and not _is_populated(db, StandIn.of(view).find(db)):
                raise StatementFailed(f"{view} was filled meanwhile, and so must be what takes its place: run again")
        return Exchanged(db, views)

    def refuse_others(self, db: Catalog) -> list[Relation]:
        """Give those that are there, and refuse to leave any behind that came after the plan was made."""
        known, there = {view.oid for view in self.views}, readers(db, *self.sources)
        if came := [str(each) for each in there if each.oid not in known]:
            raise StatementFailed(
                f"{', '.join(came)} came meanwhile, and must be built over what takes the table's place: run again"
            )
        return there

    def locks(self, db: Catalog, *tables: Relation) -> list[Lock]:
        """Give the locks on them, on the views that read them or the table, and on what those read beside some tables."""
        return first_of_each(exchange_locks(db, self.views, *self.sources), tables)


def first_of_each(locks: Sequence[Lock], tables: Iterable[Relation | Lock]) -> list[Lock]:
    """Give one lock on each relation, and none on some tables."""
    known = {(each.name, each.schema) for each in tables}
    found = {(lock.name, lock.schema): lock for lock in reversed(locks)}
    return [lock for lock in locks if found[lock.name, lock.schema] is lock and (lock.name, lock.schema) not in known]


def _text(db: Catalog, view: Relation, bare: Sequence[str | None]) -> str:
    db.session.run(sql("set local search_path = {}", joined(map(ident, bare)) if bare else literal("")))
    text = str(db.session.value(sql("select pg_get_viewdef({}::oid)", literal(view.oid))))
    db.session.value(QUALIFIED)
    return text


def _is_populated(db: Catalog, view: Relation | None) -> bool:
    return view is not None and made_like(db, view)[2]


def readers(db: Catalog, *tables: Relation) -> list[Relation]:
    """Give the materialized views that read tables, or one of those: each after what it reads, without what is left of a run."""
    found = _on_top_of(db, *tables)
    left = {each.oid for each in _left(db, found)}
    return [each for each in found if each.oid not in left]


def left_on(db: Catalog, *tables: Relation) -> list[Relation]:
    """Give what an interrupted run has built over tables."""
    return _left(db, _on_top_of(db, *tables))


def _on_top_of(db: Catalog, *tables: Relation) -> list[Relation]:
    return list({each.oid: each for table in tables for each in on_top(db, table)[1:]}.values())


def _left(db: Catalog, found: Sequence[Relation]) -> list[Relation]:
    if not found:
        return []
    names = {beside(name, NEW) for (name,) in db.session.rows("select relname from pg_class where relkind = 'm'")}
    # the one beside which it was built may be gone
    return [each for each in found if each.name in names or each.name.endswith(beside("", NEW))]


def clear_left(name: str, schema: str | None) -> Step:
    """Drop what an interrupted run has built over a table, one of its partitions, or what is to take its place."""

    def left(db: Catalog) -> list[Relation]:
        table = db.table(name, schema)
        forms = (db.relation(beside(table.name, form), table.schema) for form in (PLAIN, PARTED))
        return left_on(db, *tree(db, table), *(each for each in forms if each is not None))

    def clear(db: Catalog) -> Iterator[Step]:
        yield drop(left(db))

    return Step(f"see that no views are left beside those of {name}", [], done=lambda db: not left(db), clear=clear)


def drop(left: Sequence[Relation]) -> Step:
    """Drop views that are in nobody's use."""
    return Step(
        f"drop {', '.join(map(str, left))}",
        sql("drop materialized view {}", joined(each.ident for each in left)),
        locks=[Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, by_owner=True) for each in left],
    )


# -- what cannot follow --------------------------------------------------------------------------------------------------


def obstacles(db: Catalog, table: Relation, views: Sequence[Relation]) -> Iterator[str]:
    """Give what keeps materialized views from following a table, each with its way out."""
    for view in views:
        yield from obstacles_of(db, view)
        if (why := _seen_otherwise(db, table, view)) is not None:
            yield why
    if views:
        yield from against_shadow(db, table, views)


def obstacles_of(db: Catalog, view: Relation, left: Sequence[Relation] = ()) -> Iterator[str]:
    """Give what keeps another materialized view from taking the place of one, beside what is left and will be dropped."""
    yield from (f"{view}: {said}" for said in obstacles_to(db, view))
    yield from taken_by_others(db, view, GONE, left)


def against_shadow(db: Catalog, first: Relation, on_top: Sequence[Relation]) -> Iterator[str]:
    """Say what keeps views from being built while the new ones stand aside with the names of the old."""
    if not db.session.value("select has_database_privilege(current_database(), 'create')"):
        yield f"{on_top[0]} reads {first}; rebuilding it needs CREATE on the database: grant that, or drop {on_top[0]} before"
    if db.session.value(sql("select to_regnamespace({}) is not null", literal(SHADOW))):
        yield f"there is a schema {SHADOW}: rename it"
    names = [each.name for each in (first, *on_top)]
    if len(set(names)) < len(names):
        yield (
            f"two of {', '.join(map(str, (first, *on_top)))} have the same name in different schemas, and one reads the other:"
            " drop the one that reads before"
        )


def seen_by_owner(db: Catalog, view: Relation, reader: Relation) -> Iterator[str]:
    """Say which policies show the owner of a view other rows than us, who would fill it with what a reader reads."""
    rows = db.session.rows(query("seen_by_owner", PACKAGE, view=literal(view.oid), reader=literal(reader.oid)))
    yield from (said for (said,) in rows)


def _seen_otherwise(db: Catalog, table: Relation, view: Relation) -> str | None:
    """Say whether policies show the owner of a view other rows than whoever builds it anew."""
    said: str | None = db.session.value(
        query("seen_otherwise", PACKAGE, table=literal(table.oid), view=literal(view.oid))
    )
    return said
