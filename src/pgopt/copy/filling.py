"""A relation that is filled from another while that is in use: the log of changes, the copy, the replay, the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.copy.shape import stored_columns, tree
from pgopt.errors import InvalidOperation
from pgopt.plan.step import BatchStep, DrainStep, Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import above
from pgopt.server.quoting import dollars, ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.copy.changes import Changes
    from pgopt.copy.shape import Index
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
class Filling:
    """A table, and another relation that gets its rows and follows it until it takes over."""

    table: Relation
    """From which rows are taken."""
    target: str
    """The name of the other one, in the same schema."""
    key: Sequence[str]
    """Tells rows apart, in both."""
    match: Sequence[str]
    """The columns by which rows of both are matched."""
    changes: Changes
    over: Callable[[Catalog], bool]
    """Whether the other one has taken over."""
    watched: Sequence[Relation] = ()
    """Whose changes are noted; none means the table and its partitions."""
    leaves: Sequence[Relation] = ()
    """The tables in which the rows are; none means all of its partitions, or itself."""
    within: str = "true"
    """Which rows it is about, as a condition on the columns."""
    has_indexes: bool = False
    """Whether the other one has its indexes from the beginning."""
    target_schema: str | None = None
    """Where the other one is, unless in the schema of the table."""

    def copy(self, db: Catalog, indexes: Iterable[tuple[str, str, Index]]) -> Iterator[AnyStep]:
        """Give the steps that fill the other one, and then build indexes, each for what it is called there."""
        if self.within != "true":
            _refuse_vague_bounds(db, self.watched[0])
        yield self._watch(db)
        for leaf in self._sources(db):
            yield self._fill(db, leaf)
        yield self._forget_copies(db)
        for label, name, index in indexes:
            yield self._build(label, name, index)
        yield self._analyze(db)
        yield from self.follow(db)
        logged = self.changes.keys_in(db, self.table, self.match)
        for leaf in self._sources(db):
            yield self._verify(db, leaf, logged)

    def follow(self, db: Catalog) -> Iterator[DrainStep]:
        """Do to the other one what was done to the table."""
        yield DrainStep(
            f"replay changes of {self.table}",
            self.changes.replay,
            self.table,
            locks=[
                *(Lock(Mode.ACCESS_SHARE, each.name, each.schema) for each in tree(db, self.table)),
                *self._on_target(db, Mode.ROW_EXCLUSIVE),
            ],
            done=self.over,
        )

    @property
    def there(self) -> Composable:
        """The quoted name of the other one."""
        return ident(self.target_schema or self.table.schema, self.target)

    def filled(self, db: Catalog) -> Relation:
        """Look the other one up."""
        return db.table(self.target, self.target_schema or self.table.schema)

    def parts(self, db: Catalog) -> Sequence[Relation]:
        """Give the other one and its partitions."""
        return tree(db, self.filled(db))

    def beside(self, db: Catalog) -> Sequence[Relation]:
        """Give what there is to lock for a swap that nobody uses: that, and the log, in which writers go on to note."""
        return [*self.parts(db), *self.changes.kept_in(db)]

    def _on_target(self, db: Catalog, mode: Mode) -> list[Lock]:
        """Give the lock on the other one, where that was there before."""
        there = db.relation(self.target, self.target_schema or self.table.schema)
        return [Lock(mode, there.name, there.schema)] if there else []

    def _sources(self, db: Catalog) -> Sequence[Relation]:
        return self.leaves or [each for each in tree(db, self.table) if each.kind == "r"]

    def _watch(self, db: Catalog) -> Step:
        watched = self.watched or tree(db, self.table)
        whole = [each for table in watched for each in (tree(db, table) if table.partitioned else [table])]

        def statements(db: Catalog) -> Iterator[Composable]:
            target = self.filled(db)
            yield from self.changes.create(self.table, self.match)
            yield from self.changes.begin(db, self.table, target, self.match, self.within)
            for each in watched:
                yield from self.changes.watch(each)
            yield self.changes.remember(self.table, target, self.key)

        return Step(
            f"note changes of {self.table}",
            statements,
            locks=[Lock(Mode.SHARE_ROW_EXCLUSIVE, each.name, each.schema) for each in dict.fromkeys(whole)],
            done=self.changes.exists,
        )

    def _fill(self, db: Catalog, leaf: Relation) -> BatchStep:
        columns = joined(map(ident, stored_columns(db, leaf)))
        # what is there already was copied before it moved, and is in the log
        twice = verbatim(" on conflict do nothing" if self.has_indexes else "")
        return BatchStep(
            f"copy {leaf}",
            leaf,
            (),
            lambda rows: sql(
                "insert into {} ({}) overriding system value select {} from only {} where {}{}",
                self.there,
                columns,
                columns,
                leaf.ident,
                rows,
                twice,
            ),
            locks=[Lock(Mode.ACCESS_SHARE, leaf.name, leaf.schema), *self._on_target(db, Mode.ROW_EXCLUSIVE)],
            into=self.there,
            # what was copied of the old files; all that was in them and is still there is in the new ones
            restart=[sql("delete from {} where {}", self.there, _bounds(db, leaf))],
        )

    def _forget_copies(self, db: Catalog) -> Step:
        return Step(
            f"take rows that moved out of the copy of {self.table}",
            lambda db: [self.changes.forget_copies(db, self.filled(db), self.match)],
            locks=self._on_target(db, Mode.ROW_EXCLUSIVE),
            done=lambda db: not self.changes.waiting(db),
        )

    def _build(self, label: str, name: str, index: Index) -> Step:
        return Step(
            f"build {label} of the copy of {self.table}",
            index.create(name, self.there),
            done=lambda db: self._is_built(db, name),
            beside=self.parts,
        )

    def _is_built(self, db: Catalog, name: str) -> bool:
        index = db.index(name, self.target_schema or self.table.schema)
        if index is None:
            return False
        if index.table != self.filled(db).oid:
            raise InvalidOperation(
                f"index {index}, whose name pgopt wants for the copy, belongs to another table: rename it"
            )
        return True

    def _analyze(self, db: Catalog) -> Step:
        """Gather statistics before anybody asks; of a partitioned table autovacuum never does."""
        query = "select reltuples >= 0 from pg_class where oid = to_regclass({})"
        return Step(
            f"analyze the copy of {self.table}",
            sql("analyze {}", self.there),
            locks=self._on_target(db, Mode.SHARE_UPDATE_EXCLUSIVE),
            done=lambda db: bool(db.session.value(sql(query, literal(render(self.there))))),
            beside=self.parts,
        )

    def _verify(self, db: Catalog, leaf: Relation, logged: Composable) -> BatchStep:
        columns = [sql("r.{}", ident(column.name)) for column in db.columns(leaf)]
        called = str(leaf).replace("%", "%%")
        message = (
            f"the copy of {called} differs: of the rows that were compared, the table has %s and the copy has %s, or their"
            " contents differ; nothing was swapped"
        )

        bounds = _bounds(db, leaf)
        # whether a hash is that of a partition, the server asks the parent
        asked = above(leaf, tree(db, self.table)) if "satisfies_hash_partition" in render(bounds) else ()

        def statement(rows: Composable) -> Composable:
            said = {
                "columns": joined(columns),
                "source": leaf.ident,
                "target": self.there,
                "condition": rows,
                "bounds": bounds,
                "log": self.changes.log,
                "logged": logged,
                "message": literal(message),
            }
            # keys are texts of others
            return dollars(lambda tag: sql(_COMPARE, tag=tag, **said))

        return BatchStep(
            f"compare {leaf} with its copy",
            leaf,
            self.key,
            statement,
            locks=[
                *(Lock(Mode.ACCESS_SHARE, each.name, each.schema) for each in (leaf, *asked)),
                *self._on_target(db, Mode.ACCESS_SHARE),
            ],
        )


_VAGUE = """
select a.attname, format_type(a.atttypid, -1)
from pg_partitioned_table p join pg_attribute a on a.attrelid = p.partrelid and a.attnum = any(p.partattrs)
join pg_type t on t.oid = a.atttypid
where p.partrelid = {} and t.typnamespace <> 'pg_catalog'::regnamespace
order by a.attnum limit 1
"""


def _refuse_vague_bounds(db: Catalog, table: Relation) -> None:
    """Refuse bounds whose type and operators are not those of the server, the only ones that the triggers of the log find."""
    if found := db.session.row(sql(_VAGUE, literal(table.oid))):
        column, type_ = found
        raise InvalidOperation(
            f"partitions of {table} are neither split nor merged: column {column!r}, by which it is partitioned, is {type_},"
            " which is no type of PostgreSQL's own"
        )


def _bounds(db: Catalog, leaf: Relation) -> Composable:
    """Give the condition that the rows of a partition meet."""
    return verbatim(
        db.session.value(sql("select coalesce(pg_get_partition_constraintdef({}), 'true')", literal(leaf.oid)))
    )
