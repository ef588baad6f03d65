"""Questions to the catalog. Asking changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, cast

from pgopt.errors import INSTALL, InvalidOperation, NotInstalled
from pgopt.server.objects import (
    KINDS,
    Column,
    ColumnShape,
    Constraint,
    Extension,
    IndexInfo,
    Relation,
    Statistics,
    Storage,
)
from pgopt.server.probe import copy_of, on_copy
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, render, sql, verbatim
from pgopt.server.undo import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, LiteralString

    from psycopg.sql import Composable

    from pgopt.server.objects import TableNamed
    from pgopt.server.session import Session
    from pgopt.server.undo import Kept, KeptTree


class Catalog:
    """What there is in the database."""

    online = True

    def __init__(
        self, session: Session, *, remember: bool = False, memory: Memory | None = None, thorough: bool = False
    ) -> None:
        self.session = session
        self.thorough = thorough
        """Whether to ask beforehand what a run learns from its first statement."""
        self.memory = memory or Memory()
        """Where what was there is written down, for the revision that is running."""
        self.remember = remember
        """Whether to ask the same thing twice only after we changed something."""
        self._answers: dict[str, Any] = {}
        self._changes = session.changes

    @property
    def version(self) -> int:
        """The server's version, as 180006."""
        return self.session.version

    def relation(self, name: str, schema: str | None = None) -> Relation | None:
        """Look a relation up, through the search path where no schema is said."""
        row = self._row(_relation(name, schema))
        return row and Relation(*row)

    def ahead(self, table: TableNamed, along: Composable) -> Sequence[Any]:
        """Ask in one statement what a plan will ask about a table, and some things more, of which the answers are given."""
        relation = _relation(table.name, table.schema)
        more = sql(", {}, {}", _index_of(table), along)
        row = self.session.row(query("relation", relation=_oid(table.name, table.schema), more=more))
        found = Relation(*row[:5]) if row else None
        self._keep(relation, row and row[:5])
        if found and table.index:
            self._keep(_whether_there(table.index, found.schema), row[5:6])
        return cast("Sequence[Any]", row[6:] if row else self.session.row(sql("select {}", along)))

    def table(self, name: str, schema: str | None = None) -> Relation:
        """Look up a table, partitioned table or materialized view that must be there."""
        found = self.relation(name, schema)
        if found is None:
            where = f"in schema {schema!r}" if schema else "on the search path (schema= names another place)"
            raise InvalidOperation(f"there is no table {name!r} {where}")
        if found.kind not in "rpm":
            raise InvalidOperation(f"{found} is a {KINDS.get(found.kind, found.kind)}, not a table")
        return found

    def index(self, name: str, schema: str | None = None) -> IndexInfo | None:
        """Look an index up."""
        # the server plans the whole question for longer than it takes to find nothing
        if not self.is_taken(name, schema):
            return None
        return self._index(query("index", index=_oid(name, schema)))

    def is_taken(self, name: str, schema: str | None = None) -> bool:
        """Whether any relation has a name."""
        return self._row(_whether_there(name, schema))[0] is not None

    def by_oid(self, oid: int) -> Relation:
        """Look up a relation that was there a moment ago."""
        row = self._row(query("relation", relation=literal(oid), more=verbatim("")))
        if row is None:
            raise InvalidOperation("somebody has dropped a table while it was looked at: run again")
        return Relation(*row)

    def is_there(self, oid: int) -> bool:
        """Tell whether there is a relation of that number still."""
        return bool(self.session.value(sql("select exists (select from pg_class where oid = {})", literal(oid))))

    def may_read(self, table: Relation) -> bool:
        """Whether we may read a table."""
        return bool(self.session.value(sql("select has_table_privilege({}::oid, 'select')", literal(table.oid))))

    def is_ours(self, table: Relation) -> bool:
        """Whether we may do what its owner may."""
        return not self.not_ours([table])

    def not_ours(self, tables: Sequence[Relation]) -> Sequence[Relation]:
        """Give those of which we may not do what the owner may."""
        return self._those("not pg_has_role(relowner, 'USAGE')", tables)

    def has_rows(self, table: Relation, condition: Composable = verbatim("true")) -> bool:  # noqa: B008  -- it stays what it is
        """Whether a table has rows that meet a condition; refused where a policy may hide some from us."""
        some = sql(
            "select exists (select from {} where {}), row_security_active({}::oid)",
            table.ident,
            condition,
            literal(table.oid),
        )
        found, may_be_hidden = self.session.row(some)
        if may_be_hidden and not found:
            raise InvalidOperation(
                f"whether {table} has rows cannot be told, since a policy of row-level security may hide them from this role: run it as a role"
                " with BYPASSRLS, or as the owner and without FORCE ROW LEVEL SECURITY"
            )
        return bool(found)

    def without_identity(self, tables: Sequence[Relation]) -> Sequence[Relation]:
        """Give those whose replica identity was an index, and is gone."""
        gone = "relreplident = 'i' and not exists (select from pg_index where indrelid = c.oid and indisreplident)"
        return self._those(gone, tables)

    def _those(self, condition: LiteralString, tables: Sequence[Relation]) -> Sequence[Relation]:
        if not tables:
            return ()
        oids = literal([table.oid for table in tables])
        found = self.session.rows(
            sql("select oid::int8 from pg_class c where oid = any({}::oid[]) and {}", oids, verbatim(condition))
        )
        those = {oid for (oid,) in found}
        return [table for table in tables if table.oid in those]

    def invalid_indexes(self, table: Relation, pattern: str) -> Sequence[IndexInfo]:
        """Give the invalid indexes of a table and of its TOAST table whose names match a regular expression."""
        names = self.session.rows(query("invalid_indexes", table=literal(table.oid), pattern=literal(pattern)))
        found = (self.index(name, schema) for schema, name in names)
        return [index for index in found if index is not None]

    def stray_parts(self, index: str, root: Relation) -> Sequence[tuple[IndexInfo, Relation, bool]]:
        """Give the indexes that are called as if they were built for one of a tree, each with its table, and with whether that is in the tree."""
        rows = self.session.rows(query("stray_parts", name=literal(index), root=literal(root.oid)))
        found = ((self.index(name, schema), table, is_in) for schema, name, table, is_in in rows)
        return [(each, self.by_oid(table), is_in) for each, table, is_in in found if each is not None]

    def not_rebuilt(self, tables: Sequence[Relation]) -> Sequence[tuple[str, bool]]:
        """Give the indexes of tables that REINDEX TABLE CONCURRENTLY leaves as they are, and whether each is of an exclusion constraint."""
        oids = literal([table.oid for table in tables])
        return cast("Sequence[tuple[str, bool]]", self.session.rows(query("not_rebuilt", tables=oids)))

    def descendants(self, table: Relation) -> Sequence[Relation]:
        """Give all partitions and inheritance children of a table, at any depth, parents before their children."""
        return [Relation(*row) for row in self.session.rows(query("descendants", root=literal(table.oid)))]

    def partitions(self, table: Relation) -> Sequence[Relation]:
        """Give all below a partitioned table or index, parents before their children."""
        return self.descendants(table) if table.partitioned else []

    def index_tree(self, index: Relation) -> Sequence[Relation]:
        """Give a partitioned index and all attached below it."""
        return [index, *self.partitions(index)]

    def is_partition(self, part: Relation) -> bool:
        """Whether a relation still is a partition of the parent that it had."""
        return bool(
            self.session.value(
                sql(
                    "select exists (select from pg_inherits where inhrelid = {} and inhparent = {} and not inhdetachpending)",
                    literal(part.oid),
                    literal(part.parent),
                )
            )
        )

    def part(self, part: Relation, schema: str | None, index: str) -> tuple[str | None, str] | None:
        """Name the index of a partition that is attached to an index of its parent, with its schema first."""
        row = self.session.row(
            sql(
                "select n.nspname, c.relname from pg_inherits h join pg_index i on i.indexrelid = h.inhrelid"
                " join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace"
                " where h.inhparent = to_regclass({}) and i.indrelid = {}",
                _regclass(index, schema),
                literal(part.oid),
            )
        )
        return row and (row[0], row[1])

    def has_part(self, part: Relation, schema: str | None, index: str) -> bool:
        """Whether an index of a partition is attached to an index of its parent."""
        return bool(
            self.session.value(
                sql(
                    "select exists (select from pg_inherits h join pg_index i on i.indexrelid = h.inhrelid"
                    " where h.inhparent = to_regclass({}) and i.indrelid = {} and i.indisvalid)",
                    _regclass(index, schema),
                    literal(part.oid),
                )
            )
        )

    def columns(self, table: Relation) -> Sequence[Column]:
        """Give the columns of a table in their order."""
        return [Column(*row) for row in self.session.rows(query("columns", table=literal(table.oid)))]

    def column(self, table: Relation, name: str) -> Column:
        """Look up a column that must be there."""
        there = {column.name: column for column in self.columns(table)}
        if name not in there:
            raise InvalidOperation(f"{table} has no column {name!r}: it has {', '.join(there)}")
        return there[name]

    def column_shape(self, table: Composable, name: str) -> ColumnShape | None:
        """Describe a column of a table, which is given by its oid."""
        row = self.session.row(query("column", table=table, column=literal(name)))
        return row and ColumnShape(*row)

    def shape_of_column(self, table: Relation, kind: Composable, default: Composable) -> ColumnShape:
        """Describe the column that would be added, and what adding it would do.

        The server adds it to an empty copy of the table, in a transaction that is rolled back: what it makes anew has
        another file then, with rows in it or without.
        """
        with copy_of(self.session, table) as copy:
            oid = sql("{}::regclass", literal(render(copy)))
            file = sql("select relfilenode::int8 from pg_class where oid = {}", oid)
            files = [self.session.value(file)]
            for name, said in (("pgopt_probe_it", default), ("pgopt_probe_bare", sql(""))):
                self.session.run(sql("alter table {} add column {} {}{}", copy, ident(name), kind, said))
                files.append(self.session.value(file))
            shape = self.column_shape(oid, "pgopt_probe_it")
        assert shape is not None
        return replace(shape, rewrites=files[1] != files[0], rewrites_bare=files[2] != files[1])

    def column_users(self, table: Relation, name: str, proof: str) -> Sequence[str]:
        """Name what would go with a column, or keeps it from going: indexes, constraints but one, views …"""
        users = query("column_users", table=literal(table.oid), column=literal(name), proof=literal(proof))
        rows = self.session.rows(users)
        return [row[0] for row in rows]

    def column_extras(self, table: Relation, name: str) -> Sequence[tuple[str, str]]:
        """Name what of a column its definition does not say, such as its comment, each with what takes it away."""
        rows = self.session.rows(query("column_extras", table=literal(table.oid), column=literal(name)))
        return [(what, way_out) for what, way_out in rows]

    def unwritable(self, table: Relation) -> Sequence[str]:
        """Say why an UPDATE of a table would do nothing, or be refused for all rows, each with the way out."""
        return [why for (why,) in self.session.rows(query("unwritable", table=sql("{}::oid", literal(table.oid))))]

    def key_of(self, table: Relation) -> Sequence[str] | None:
        """Give the columns that tell rows apart: the primary key, or a unique index without NULLs."""
        found: Sequence[str] | None = self.session.value(query("key", table=literal(table.oid)))
        return found

    def constraint(self, table: Relation, name: str) -> Constraint | None:
        """Look a constraint of a table up."""
        return self._constraint(table, sql("c.conname = {}", literal(name)))

    def not_null(self, table: Relation, column: str) -> Constraint | None:
        """Look the NOT NULL constraint of a column up, which has a name from PostgreSQL 18 on."""
        which = sql(
            "c.contype = 'n' and c.conkey = array[(select attnum from pg_attribute where attrelid = {} and attname = {})]",
            literal(table.oid),
            literal(column),
        )
        return self._constraint(table, which)

    def primary_key(self, table: Relation) -> Constraint | None:
        """Look up the primary key of a table."""
        return self._constraint(table, sql("c.contype = 'p'"))

    def resting_on(self, constraint: Constraint) -> Sequence[str]:
        """Describe what rests on a key: foreign keys on its index, views on itself."""
        rows = self.session.rows(query("resting_on", constraint=literal(constraint.oid)))
        return [description for (description,) in rows]

    def foreign_keys(self, table: Relation) -> Sequence[Constraint]:
        """Give the foreign keys of a table."""
        return self._constraints(table, sql("c.contype = 'f'"))

    def partition_key(self, table: Relation) -> Sequence[str | None]:
        """Give the columns by which a table is partitioned, with nothing for an expression."""
        return [name for (name,) in self.session.rows(query("partition_key", table=literal(table.oid)))]

    def partition_strategy(self, table: Relation) -> str | None:
        """Give the strategy by which a table is partitioned, as pg_partitioned_table has it: r for ranges, l for lists, h for hashes."""
        strategy = sql("select partstrat::text from pg_partitioned_table where partrelid = {}", literal(table.oid))
        found: str | None = self.session.value(strategy)
        return found

    def constraint_definition(self, table: Relation, constraint: Composable) -> str:
        """Give a constraint as the server writes it, read against an empty copy of the table that is rolled back."""

        def definition(copy: Composable) -> str:
            self.session.run(sql("alter table {} add constraint pgopt_probe_it {}", copy, constraint))
            return str(
                self.session.value(
                    sql(
                        "select pg_get_constraintdef(oid) from pg_constraint"
                        " where conrelid = {}::regclass and conname = 'pgopt_probe_it'",
                        literal(render(copy)),
                    )
                )
            )

        return on_copy(self.session, table, definition)

    def has_index_on(self, table: Relation, columns: Sequence[str]) -> bool:
        """Whether a full index of a table begins with these columns, in whatever order."""
        return bool(self.session.value(query("has_index_on", table=literal(table.oid), columns=literal(list(columns)))))

    def indexes_on(self, *tables: Relation) -> Sequence[Relation]:
        """Give the indexes of some tables."""
        oids = [table.oid for table in tables]
        rows = self.session.rows(
            sql(
                "select c.oid::int8, n.nspname, c.relname, c.relkind::text from pg_index i join pg_class c on c.oid = i.indexrelid"
                " join pg_namespace n on n.oid = c.relnamespace where i.indrelid = any({}::oid[]) order by c.oid",
                literal(oids),
            )
        )
        return [Relation(*row) for row in rows]

    def storage(self, relation: Relation) -> Sequence[Storage]:
        """Give what is set of a relation, or of each leaf of a partitioned one."""
        rows = self.session.rows(query("storage", relation=literal(relation.oid)))
        return [Storage(Relation(*row[:4]), _parameters(row[4], row[5]), row[6]) for row in rows]

    def statistics(self, schema: str | None, name: str) -> Statistics | None:
        """Look extended statistics up."""
        row = self.session.row(
            query(
                "statistics", which=sql("(n.nspname, s.stxname) = ({}::text, {}::text)", literal(schema), literal(name))
            )
        )
        return row and Statistics(*row)

    def shape_of_statistics(self, table: Relation, create: Callable[[Composable, Composable], Composable]) -> str:
        """Describe the statistics that a statement would make, on an empty copy of the table that is rolled back."""

        def shape(copy: Composable) -> str:
            self.session.run(create(ident("pg_temp", "pgopt_probe_it"), copy))
            made = sql("s.stxrelid = {}::regclass", literal(render(copy)))
            return Statistics(*self.session.row(query("statistics", which=made))).shape

        return on_copy(self.session, table, shape)

    def extension(self, name: str) -> Extension | None:
        """Look an extension up."""
        row = self.session.row(query("extension", extension=literal(name)))
        return row and Extension(*row)

    def has_extension(self, name: str) -> bool:
        """Whether the server could make an extension."""
        known = sql("select exists (select from pg_available_extensions where name = {})", literal(name))
        return bool(self.session.value(known))

    def tablespace_of(self, index: IndexInfo) -> str:
        """Give the tablespace in which an index lies, that of the database where it has none of its own."""
        return index.tablespace or self._tablespaces[0]

    def tablespace_of_new(self, said: str | None) -> str:
        """Give the tablespace in which an index comes to lie that is made with such words, or without any."""
        return said or self._tablespaces[1]

    @cached_property
    def _tablespaces(self) -> tuple[str, str]:
        """Where the database lies, and what is made without a word."""
        return cast("tuple[str, str]", tuple(self.session.row(query("tablespaces"))))

    def index_shape(self, oid: int) -> str:
        """Describe an index as the server understands it, without the names of table and index."""
        return str(self.session.value(query("index_shape", index=literal(oid))))

    def shape_of_new(
        self, table: Relation, create: Callable[[Composable, Composable], Composable], *, name: str | None = None
    ) -> str:
        """Describe the index that a statement would make.

        The server reads the statement against an empty copy of the table, in a transaction that is rolled back. The copy has
        the table's own name, or another one.
        """

        def shape(copy: Composable) -> str:
            self.session.run(create(ident("pgopt_probe_index"), copy))
            made = sql("{}::regclass", literal("pg_temp.pgopt_probe_index"))
            return str(self.session.value(query("index_shape", index=made)))

        return on_copy(self.session, table, shape, name=name)

    def installed(self) -> int:
        """Give the version of the pgopt schema, 0 where it is not installed."""
        if self.session.value("select to_regclass('pgopt.version')") is None:
            return 0
        return int(self.session.value("select coalesce(max(version), 0) from pgopt.version"))

    def asked_for(self) -> int:
        """Give the version of the pgopt schema that our chain of revisions has asked for, 0 where it has not."""
        ours = sql("select max(version) from pgopt.version where chain = {}", self.memory.said)
        return int(self.session.value(ours) or 0) if self.installed() else 0

    def asked_for_before(self, version: int) -> int:
        """Give the version of the pgopt schema that our chain had asked for before one."""
        before = sql(
            "select before from pgopt.version where (version, chain) = ({}, {})", literal(version), self.memory.said
        )
        return int(self.session.value(before) or 0)

    def others_asked_for(self, version: int) -> Sequence[str]:
        """Give the other chains that have asked for a version of the pgopt schema, or a later one."""
        found = self.session.rows(query("asked_for", version=literal(version), chain=self.memory.said))
        return [chain or "what was done by hand" for (chain,) in found]

    def require_pgopt(self) -> None:
        """Refuse where what is there cannot be written down; a script finds that out when it runs."""
        if self.online and not self.installed():
            raise NotInstalled(
                f"what was there before is kept in the pgopt schema, for the way back: add `{INSTALL}` to an earlier revision"
            )

    def was(self, kept: Kept) -> Any:
        """Give what was written down, or nothing."""
        text = self.session.value(sql("select was::text from pgopt.undo where {}", kept.where))
        return None if text is None else json.loads(text)

    def remembered(self, kept: KeptTree) -> set[str]:
        """Give the settings of a tree of which something was written down."""
        found = self.session.rows(sql("select distinct was ->> 'setting' from pgopt.undo where {}", kept.where))
        return {setting for (setting,) in found}

    def remembers_as_wanted(self, kept: KeptTree) -> bool:
        """Whether all of it is written down; on the way down, nothing, since nobody would take it back."""
        found = self.remembered(kept)
        return not found if self.memory.down else found.issuperset(kept.settings)

    def _index(self, statement: Composable) -> IndexInfo | None:
        row = self._row(statement)
        return row and IndexInfo(*row)

    def _constraint(self, table: Relation, which: Composable) -> Constraint | None:
        return next(iter(self._constraints(table, which)), None)

    def _constraints(self, table: Relation, which: Composable) -> Sequence[Constraint]:
        rows = self.session.rows(query("constraint", table=literal(table.oid), which=which))
        return [Constraint(*row) for row in rows]

    def _keep(self, statement: Composable, answer: Any) -> None:
        self._forget_what_changed()
        self._answers[render(statement)] = answer

    def _forget_what_changed(self) -> None:
        if self._changes != self.session.changes:
            self._answers.clear()
            self._changes = self.session.changes

    def _row(self, statement: Composable) -> Any:
        text = render(statement)
        if not self.remember:
            return self.session.row(text)
        self._forget_what_changed()
        if text not in self._answers:
            self._answers[text] = self.session.row(text)
        return self._answers[text]


def _index_of(table: TableNamed) -> Composable:
    """Ask for an index in the schema in which the table was found."""
    if table.index is None:
        return sql("null")
    return sql("to_regclass(c.relnamespace::regnamespace || {})", literal("." + render(ident(table.index))))


# the same few for each operation: to compose them takes as long as to send them


@lru_cache
def _oid(name: str, schema: str | None) -> Composable:
    return verbatim(render(sql("to_regclass({})", _regclass(name, schema))))


@lru_cache
def _relation(name: str, schema: str | None) -> Composable:
    return verbatim(render(query("relation", relation=_oid(name, schema), more=verbatim(""))))


@lru_cache
def _whether_there(name: str, schema: str | None) -> Composable:
    return verbatim(render(sql("select {}", _oid(name, schema))))


def _regclass(name: str, schema: str | None) -> Composable:
    return literal(render(ident(schema, name)))


def _parameters(own: Sequence[str] | None, toast: Sequence[str] | None) -> dict[str, str]:
    return dict(text.split("=", 1) for text in [*(own or ()), *(f"toast.{each}" for each in toast or ())])
