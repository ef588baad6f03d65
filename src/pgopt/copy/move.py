"""Moves what belongs to a table to the one that takes its place: triggers, policies, grants, comments, sequences, views …"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.copy.shape import PACKAGE, QUALIFIED, foreign_keys_of, indexes_of, tree
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


class Move:
    """What belongs to a table at this moment, under its lock, on its way to another one.

    To be made in a transaction in which the search path is empty, so that all definitions name things in full.
    """

    def __init__(self, db: Catalog, source: Relation, target: Relation, aside: str) -> None:
        self.db = db
        self.source = source
        self.target = target
        self.aside = ident(source.schema, aside)
        self._name = aside
        # what belongs to the target it has got by default privileges, or it is an old one that has kept it
        self._belongings, self._strangers = _belongings(db, (source, self.aside), (target, target.ident))
        self._identities = _identities(db, source)
        self.foreign_keys = foreign_keys_of(db, source)
        self.indexes = indexes_of(db, source)

    def take(self) -> Iterator[Composable]:
        """Take from the source its name and all that belongs to it."""
        yield sql("alter table {} rename to {}", self.source.ident, ident(self._name))
        for take, _ in (*self._strangers, *self._belongings):
            if take is not None:
                yield verbatim(take)

    def give(self) -> Iterator[Composable]:
        """Give the target that name, and all that belongs to it."""
        yield sql("alter table {} rename to {}", self.target.ident, ident(self.source.name))
        yield from self.give_belongings()

    def give_belongings(self) -> Iterator[Composable]:
        """Give the target, which has that name, all that belongs to it."""
        for _, give in self._belongings:
            if give is not None:
                yield verbatim(give)
        for sequence, value, called, rights in self._identities:
            yield sql("select setval({}, {}, {})", *map(literal, (sequence, value, called)))
            yield from map(verbatim, rights)
        if self.target.partitioned:
            yield from _identify_leaves(self.db, self.target)


def close(table: Composable) -> Composable:
    """Refuse rows to the partitions of a table that has given up its place: who writes to one itself may have waited for that."""
    return sql(
        "create trigger pgopt_gone before insert or update or delete on {} for each row execute function pgopt.refuse_gone()",
        table,
    )


def rename_index(table: Relation, name: str, new: str) -> Composable:
    """Rename an index of a table, and the constraint that it serves with it."""
    return sql("alter index {} rename to {}", ident(table.schema, name), ident(new))


def watch_instead(db: Catalog, table: Relation, successor: Relation) -> Iterator[Composable]:
    """Let changes be noted for materialized views on what has taken the place of a table, or on its new partitions."""
    if is_watched(db, table):
        yield sql("select pgopt.watch_instead({}::oid, {}::oid)", literal(table.oid), literal(successor.oid))


def is_watched(db: Catalog, table: Relation) -> bool:
    """Whether changes of a table are noted for materialized views."""
    watched = "select exists (select from pgopt.source where source = {}::oid)"
    return bool(db.session.value(sql(watched, literal(table.oid))))


def locks_on_watched(db: Catalog, part: Relation, name: str) -> list[Lock]:
    """Give the locks on the table that has the name of a partition's, where changes of the partition are noted alone."""
    if not is_watched(db, part):
        return []
    tables = tree(db, db.table(name, part.schema))
    # on a run that goes on the partition is one of them, and has its trigger
    return [
        Lock(Mode.SHARE_ROW_EXCLUSIVE, each.name, each.schema)
        for each in tables
        if each.oid != part.oid or len(tables) == 1
    ]


def locks_on_views(db: Catalog, table: Relation) -> list[Lock]:
    """Give the locks on the views that read a table: to be taken before the table's, as those who read them do."""
    rows = db.session.rows(
        sql(
            "select distinct v.relname, n.nspname, v.oid from pg_depend d join pg_rewrite r on r.oid = d.objid"
            " join pg_class v on v.oid = r.ev_class and v.relkind = 'v' join pg_namespace n on n.oid = v.relnamespace"
            " where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = {}"
            " order by v.oid",
            literal(table.oid),
        )
    )
    return [Lock(Mode.ACCESS_EXCLUSIVE, name, schema, by_owner=True) for name, schema, _ in rows]


def locks_on_parts(db: Catalog, *tables: Relation) -> list[Lock]:
    """Give the locks on indexes, which are renamed, and on sequences: an identity's is dropped and made anew."""
    indexes = [
        Lock(Mode.SHARE_UPDATE_EXCLUSIVE, each.name, each.schema, is_index=True) for each in db.indexes_on(*tables)
    ]
    return indexes + [
        Lock(Mode.ACCESS_EXCLUSIVE if of_identity else Mode.SHARE_ROW_EXCLUSIVE, name, schema, is_index=True)
        for of_identity, name, schema in _sequences(db, *tables)
    ]


def locks_on_sequences(db: Catalog, *tables: Relation) -> list[Lock]:
    """Give the locks on sequences that are dropped with their tables."""
    return [Lock(Mode.ACCESS_EXCLUSIVE, name, schema, is_index=True) for _, name, schema in _sequences(db, *tables)]


def _sequences(db: Catalog, *tables: Relation) -> list[tuple[bool, str, str]]:
    rows = db.session.rows(
        sql(
            "select d.deptype = 'i', s.relname, n.nspname from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'"
            " join pg_namespace n on n.oid = s.relnamespace where d.classid = 'pg_class'::regclass"
            " and d.refclassid = 'pg_class'::regclass and d.refobjid = any({}::oid[]) and d.deptype in ('a', 'i')",
            literal([table.oid for table in tables]),
        )
    )
    return [(of_identity, name, schema) for of_identity, name, schema in rows]


def have_planned() -> Step:
    """Have the server plan beforehand what is asked under the lock: that takes ten times as long as the answer."""

    def statements(db: Catalog) -> Iterator[Composable]:
        # with another search path it would be planned again
        yield verbatim(QUALIFIED)
        yield verbatim(_ONE_PLAN)
        if not _is_planned(db):
            asked = query("belongings", PACKAGE, table=verbatim("$1"), aside=verbatim("$2"))
            yield sql("prepare {} (oid, text) as {}", ident(_PLANNED), asked)
        yield sql("execute {} (0, '')", ident(_PLANNED))

    return Step("have what is asked under the lock planned", statements, done=_is_planned)


_PLANNED = "pgopt_belongings"
_ONE_PLAN = "set local plan_cache_mode = force_generic_plan"


def _is_planned(db: Catalog) -> bool:
    # drivers may forget all that is prepared
    found = sql("select exists (select from pg_prepared_statements where name = {})", literal(_PLANNED))
    return bool(db.session.value(found))


def _belongings(db: Catalog, *of: tuple[Relation, Composable]) -> Iterator[list[tuple[str | None, str | None]]]:
    if planned := _is_planned(db):
        db.session.run(_ONE_PLAN)
    for table, aside in of:
        values = {"table": literal(table.oid), "aside": literal(render(aside))}
        known = sql("execute {} ({}, {})", ident(_PLANNED), *values.values())
        rows = db.session.rows(known if planned else query("belongings", PACKAGE, **values))
        yield [(take, give) for take, give in rows]


def _identities(db: Catalog, table: Relation) -> list[tuple[str, int, bool, list[str]]]:
    if table.kind == "m":
        return []
    rows = db.session.rows(query("identities", PACKAGE, table=literal(table.oid)))
    # what is read before others are kept out would be handed out twice; giving it to its owner takes ACCESS EXCLUSIVE
    db.session.run(*(sql("alter sequence {} owner to {}", verbatim(name), ident(owner)) for name, owner, _ in rows))
    last = "select last_value, is_called from {}"
    return [(name, *db.session.row(sql(last, verbatim(name))), rights) for name, _, rights in rows]


def _identify_leaves(db: Catalog, parent: Relation) -> Iterator[Composable]:
    """Give partitions the replica identity of their parent, which PostgreSQL does not."""
    kind, index = db.session.row(
        sql(
            "select relreplident::text, (select indexrelid::int8 from pg_index where indrelid = c.oid and indisreplident)"
            " from pg_class c where oid = {}",
            literal(parent.oid),
        )
    )
    for leaf in tree(db, parent)[1:]:
        if kind in "fn":
            yield sql("alter table {} replica identity {}", leaf.ident, verbatim("full" if kind == "f" else "nothing"))
        elif kind == "i":
            part = db.session.value(
                sql(
                    "select c.relname from pg_inherits h join pg_index i on i.indexrelid = h.inhrelid"
                    " join pg_class c on c.oid = i.indexrelid where h.inhparent = {} and i.indrelid = {}",
                    literal(index),
                    literal(leaf.oid),
                )
            )
            yield sql("alter table {} replica identity using index {}", leaf.ident, ident(part))
