"""A table and another that takes its place: filled while the first is in use, verified, and swapped in an instant."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from pgopt.copy.changes import Changes
from pgopt.copy.move import Move, locks_on_parts, locks_on_views, rename_index
from pgopt.copy.shape import (
    GONE,
    QUALIFIED,
    ForeignKey,
    Index,
    beside,
    foreign_keys_of,
    foreign_keys_to,
    in_order,
    indexes_of,
    other,
    stored_columns,
    tree,
)
from pgopt.errors import InvalidOperation
from pgopt.plan.step import BatchStep, DrainStep, Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import above
from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.plan.step import AnyStep
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

_COMPARE = """
do {tag}
declare
    rows_here bigint; sum_here numeric; rows_there bigint; sum_there numeric;
begin
    select h.n, h.s, t.n, t.s into rows_here, sum_here, rows_there, sum_there
    from (select count(*) as n, coalesce(sum(hashtextextended(row({columns})::text, 0)), 0) as s from {source} r
          where {condition} and not {logged}) h,
         (select count(*) as n, coalesce(sum(hashtextextended(row({columns})::text, 0)), 0) as s from {target} r
          where {condition} and {bounds} and not {logged}) t;
    if (rows_here, sum_here) is distinct from (rows_there, sum_there) and not exists (select from {log} where gone is not null) then
        raise exception using errcode = 'data_corrupted', message = format({message}, rows_here, rows_there);
    end if;
end
{tag}
"""


@dataclass(frozen=True)
class Exchange:
    """A table on its way from one form to the other, plain or partitioned."""

    table: Relation
    """As it is now."""
    form: str
    """What it is to become."""
    key: Sequence[str]
    """Tells its rows apart, in both forms."""
    column: str
    """By which it is partitioned, in one of the forms."""
    index: Callable[[Index], Index]
    """Makes an index of the other form out of one that the table has."""
    leave: Sequence[str] = ()
    """Foreign keys that do not come along."""
    finish: Callable[[Catalog], Iterable[Composable]] = field(default=lambda _: ())
    """What else is said in the transaction of the swap."""
    also: Sequence[Lock] = ()
    """What that takes locks on."""
    keep: bool = True
    """Whether the table is kept beside the other and follows it, for the way back."""

    @property
    def target(self) -> str:
        """The name of the other one until it takes the table's place."""
        return beside(self.table.name, self.form)

    @property
    def aside(self) -> str:
        """The name of the table when it has given up its place."""
        return beside(self.table.name, self.aside_form)

    @property
    def aside_form(self) -> str:
        """What the table is when it has given up its place."""
        return other(self.form) if self.keep else GONE

    @property
    def match(self) -> Sequence[str]:
        """The columns by which rows of both are matched: with the partition's, only one partition is looked at."""
        return [*self.key, *([] if self.column in self.key else [self.column])]

    @property
    def changes(self) -> Changes:
        """The log of what happens to the table."""
        return Changes(self.table.schema, self.table.name, self.form)

    @property
    def changes_back(self) -> Changes:
        """The log of what happens to the other one once it has the place."""
        return Changes(self.table.schema, self.table.name, other(self.form))

    # -- before the swap -------------------------------------------------------------------------------------------------

    def copy(self, db: Catalog) -> Iterator[AnyStep]:
        """Give the steps that fill the other one."""
        yield self._watch(db)
        sources = self._leaves(db)
        for leaf in sources:
            yield self._fill(db, leaf)
        yield self._forget_copies()
        for found in indexes_of(db, self.table):
            yield self._build(found)
        yield self._analyze()
        yield from self.follow(db)
        for leaf in sources:
            yield self._verify(db, leaf)

    def follow(self, db: Catalog) -> Iterator[DrainStep]:
        """Do to the other one what was done to the table."""
        there = db.relation(self.target, self.table.schema)
        yield DrainStep(
            f"replay changes of {self.table}",
            self.changes.replay,
            self.table,
            locks=[
                *(Lock(Mode.ACCESS_SHARE, each.name, each.schema) for each in tree(db, self.table)),
                *([Lock(Mode.ROW_EXCLUSIVE, there.name, there.schema)] if there else []),
            ],
            done=self._is_swapped,
        )

    def prepare_way_back(self) -> Iterator[Step]:
        """Put the triggers on the other one that will note its changes; they note nothing yet."""
        back = self.changes_back

        def statements(db: Catalog) -> Iterator[Composable]:
            yield from back.create(self.table, self.match)
            for each in tree(db, db.table(self.target, self.table.schema)):
                yield from back.watch(each)

        yield Step(
            f"prepare the way back of {self.table}",
            statements,
            locks=[Lock(Mode.ACCESS_SHARE, self.table.name, self.table.schema)],
            done=back.exists,
        )

    def _watch(self, db: Catalog) -> Step:
        watched = tree(db, self.table)

        def statements(db: Catalog) -> Iterator[Composable]:
            target = db.table(self.target, self.table.schema)
            yield from self.changes.create(self.table, self.match)
            yield from self.changes.begin(db, self.table, target, self.match)
            for each in watched:
                yield from self.changes.watch(each)
            yield sql(
                "insert into pgopt.copy (source, target, log, key) values ({}, {}, {}, {})",
                *map(literal, (self.table.oid, target.oid)),
                sql("{}::regclass", literal(render(self.changes.log))),
                literal(list(self.key)),
            )

        return Step(
            f"note changes of {self.table}",
            statements,
            locks=[Lock(Mode.SHARE_ROW_EXCLUSIVE, each.name, each.schema) for each in watched],
            done=self.changes.exists,
        )

    def _fill(self, db: Catalog, leaf: Relation) -> BatchStep:
        columns = joined(map(ident, stored_columns(db, leaf)))
        target = ident(self.table.schema, self.target)
        return BatchStep(
            f"copy {leaf}",
            leaf,
            (),
            lambda rows: sql(
                "insert into {} ({}) overriding system value select {} from only {} where {}",
                target,
                columns,
                columns,
                leaf.ident,
                rows,
            ),
            locks=[Lock(Mode.ACCESS_SHARE, leaf.name, leaf.schema)],
            into=target,
            # what was copied of the old files; all that was in them and is still there is in the new ones
            restart=[sql("delete from {} where {}", target, _bounds(db, leaf))],
        )

    def _forget_copies(self) -> Step:
        def statements(db: Catalog) -> Iterator[Composable]:
            yield self.changes.forget_copies(db.table(self.target, self.table.schema), self.match)

        return Step(
            f"take rows that moved out of the copy of {self.table}",
            statements,
            done=lambda db: not self.changes.waiting(db),
        )

    def _build(self, found: Index) -> Step:
        name, table = beside(found.name, self.form), ident(self.table.schema, self.target)
        return Step(
            f"build {found.name} of the copy of {self.table}",
            self.index(found).create(name, table),
            done=lambda db: self._is_built(db, name),
        )

    def _is_built(self, db: Catalog, name: str) -> bool:
        index = db.index(name, self.table.schema)
        if index is None:
            return False
        if index.table != db.table(self.target, self.table.schema).oid:
            raise InvalidOperation(
                f"index {index}, whose name pgopt wants for the copy, belongs to another table: rename it"
            )
        return True

    def _analyze(self) -> Step:
        """Gather statistics before anybody asks; of a partitioned table autovacuum never does."""
        query = "select reltuples >= 0 from pg_class where oid = to_regclass({})"
        table = ident(self.table.schema, self.target)
        return Step(
            f"analyze the copy of {self.table}",
            sql("analyze {}", table),
            done=lambda db: bool(db.session.value(sql(query, literal(render(table))))),
        )

    def _verify(self, db: Catalog, leaf: Relation) -> BatchStep:
        columns = [sql("r.{}", ident(column.name)) for column in db.columns(leaf)]
        called = str(leaf).replace("%", "%%")
        message = (
            f"the copy of {called} differs: %s rows there and %s in the copy, or other contents, among the rows that were compared;"
            " nothing was swapped"
        )

        bounds = _bounds(db, leaf)
        # whether a hash is that of a partition, the server asks the parent
        asked = above(leaf, tree(db, self.table)) if "satisfies_hash_partition" in render(bounds) else ()

        def statement(rows: Composable) -> Composable:
            return sql(
                _COMPARE,
                tag=verbatim("$pgopt_compare$"),
                columns=joined(columns),
                source=leaf.ident,
                target=ident(self.table.schema, self.target),
                condition=rows,
                bounds=_bounds(db, leaf),
                log=self.changes.log,
                logged=self.changes.keys_in(self.match),
                message=literal(message),
            )

        return BatchStep(
            f"compare {leaf} with its copy",
            leaf,
            self.key,
            statement,
            locks=[Lock(Mode.ACCESS_SHARE, each.name, each.schema) for each in (leaf, *asked)],
        )

    def _leaves(self, db: Catalog) -> list[Relation]:
        return [each for each in tree(db, self.table) if each.kind == "r"]

    def _is_swapped(self, db: Catalog) -> bool:
        there = db.relation(self.table.name, self.table.schema)
        return there is None or there.oid != self.table.oid

    # -- the swap --------------------------------------------------------------------------------------------------------

    def swap(
        self,
        db: Catalog,
        *,
        before: Sequence[Step] = (),
        then: Callable[[Catalog], Iterable[Composable]] = lambda _: (),
    ) -> Step:
        """Let the other one take the table's place, with all that belongs to it."""
        return Step(
            f"swap {self.table} for its copy",
            partial(self._swap, then=then),
            locks=self.swap_locks(db),
            done=self._is_swapped,
            before=[*self.follow(db), *before],
        )

    def swap_locks(self, db: Catalog) -> list[Lock]:
        """Give what is locked: views first, as those who read them do."""
        referents = [db.by_oid(key.referent) for key in foreign_keys_of(db, self.table)]
        referencing = [db.by_oid(key.owner) for key in foreign_keys_to(db, self.table)]
        there = db.relation(self.target, self.table.schema)
        roots = [self.table, *([there] if there else [])]
        tables = in_order(referencing, [*tree(db, self.table), *roots], referents)
        return [
            *locks_on_views(db, self.table),
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in tables),
            *self.also,
            *locks_on_parts(db, *roots),
        ]

    def _swap(self, db: Catalog, then: Callable[[Catalog], Iterable[Composable]]) -> Iterator[Composable]:
        yield verbatim(QUALIFIED)
        yield self.changes.replay(None)
        yield from then(db)
        target = db.table(self.target, self.table.schema)
        yield from self._take_place(db, target)
        yield from self.changes.drop()
        new = replace(target, name=self.table.name)
        old = replace(self.table, name=self.aside)
        yield sql("delete from pgopt.copy where source = {}::oid::regclass", literal(self.table.oid))
        if self.keep:
            yield from self.changes_back.begin(db, new, old, self.match)
            yield sql(
                "insert into pgopt.copy (source, target, log, key, ready) values ({}, {}, {}, {}, true)",
                *map(literal, (new.oid, old.oid)),
                sql("{}::regclass", literal(render(self.changes_back.log))),
                literal(list(self.key)),
            )
        yield from self.finish(db)

    def _take_place(self, db: Catalog, target: Relation) -> Iterator[Composable]:
        move = Move(db, self.table, target, self.aside)
        foreign_keys = [key for key in move.foreign_keys if key.name not in self.leave]
        yield from move.take()
        for key in foreign_keys:
            yield sql("alter table {} drop constraint {}", move.aside, ident(key.name))
        for index in move.indexes:
            yield rename_index(self.table, index.name, beside(index.name, self.aside_form))
            yield rename_index(self.table, beside(index.name, self.form), index.name)
        yield from move.give()
        for key in foreign_keys:
            yield from _add_foreign_key(db, key, self.table, target)


def _add_foreign_key(db: Catalog, key: ForeignKey, source: Relation, target: Relation) -> Iterator[Composable]:
    """Add a foreign key for new rows; before 18 to each partition, which the parent adopts when they are valid."""
    leaves = [each for each in db.descendants(target) if each.kind == "r"]
    tables = [leaf.ident for leaf in leaves] if target.partitioned and db.version < 180000 else [source.ident]
    for table in tables:
        yield sql("alter table {} add constraint {} {} not valid", table, ident(key.name), verbatim(key.definition))


def _bounds(db: Catalog, leaf: Relation) -> Composable:
    """Give the condition that the rows of a partition meet."""
    return verbatim(
        db.session.value(sql("select coalesce(pg_get_partition_constraintdef({}), 'true')", literal(leaf.oid)))
    )
