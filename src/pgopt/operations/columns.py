"""Columns of live tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation
from pgopt.operations.base import Action, StateOperation, operation
from pgopt.operations.constraint_steps import on_all
from pgopt.operations.not_null import SetNotNullOnline, proof_name
from pgopt.plan.batches import ALL_ROWS
from pgopt.plan.step import BatchStep, Step
from pgopt.plan.undoing import Fills
from pgopt.server.catalog import Catalog
from pgopt.server.keys import NULLABLE, nullable_in
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import Column, above
from pgopt.server.quoting import check_name, ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from psycopg.sql import Composable

    from pgopt.server.objects import ColumnShape, Relation


@operation("backfill")
class Backfill(Action):
    """Set columns in all rows, or in those of ``where``, in batches by key while the table is in use.

    Takes ROW EXCLUSIVE, as any UPDATE, and row locks for a fraction of a second. Each batch is a transaction of its own,
    which also records how far it came: an interrupted backfill goes on where it stopped, with no row done twice and none
    skipped (a script for psql remembers nothing, and begins anew). Rows that are inserted meanwhile, or whose key changes, are the affair of a default or a trigger. Needs
    `install_pgopt`::

        op.backfill("tickets", set={"priority": "coalesce(priority, 'LOW')"}, where="priority is null")

    Values are SQL expressions of the row. Partitions and inheritance children are set, too. ``key`` says by which columns to go, instead of the primary key.
    """

    table: str
    set: Mapping[str, Any]
    _: KW_ONLY
    where: Any = None
    key: Sequence[str] = ()
    schema: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # it is told from others by its words, and a Python set gives them in another order each time
        object.__setattr__(self, "set", dict(sorted(self.set.items())))

    def check(self) -> None:
        if not self.set:
            raise InvalidOperation(f"backfill of {self.table} sets nothing: set={{'column': 'expression'}}")
        if self.where is not None and not isinstance(self.where, str):
            raise InvalidOperation(
                f"backfill of {self.table} says where={self.where!r}: write SQL as text, or with SQLAlchemy"
            )
        for name, value in self.set.items():
            _refuse_compound(value, f"column {name!r} of {self.table}")

    def goes_with(self, columns: Collection[str]) -> bool:
        """Whether one of its columns was made anew: what the others had is there, and what they are made of may not be."""
        return not set(columns).isdisjoint(self.set)

    @property
    def fills(self) -> Fills:
        return Fills(frozenset(self.set), self.where)

    @property
    def text(self) -> str:
        # what it sets is the same however it calls the table, and goes through it
        return repr(replace(self, settings=None, schema=None, key=()))

    @property
    def kin(self) -> str:
        return self.text

    def plan(self, db: Catalog) -> Iterator[BatchStep]:
        root = db.table(self.table, self.schema)
        if root.kind == "m":
            raise InvalidOperation(
                f"{root} is a materialized view, whose rows come from its query: replace_materialized_view"
            )
        self._check_columns(db, root)
        below, partitioned = db.descendants(root), root.partitioned
        for table in [root, *below]:
            self._check_keys(db, table)
        for table in (each for each in [root, *below] if each.kind == "r"):
            _refuse_unwritable(db, table)
            yield BatchStep(
                _label(self.set, table),
                table,
                self._key(db, table),
                partial(self._update, table),
                locks=[
                    Lock(Mode.ROW_EXCLUSIVE, table.name, table.schema),
                    # to see that the rows still belong there
                    *(
                        Lock(Mode.ACCESS_SHARE, each.name, each.schema)
                        for each in above(table, [root, *below])
                        if partitioned
                    ),
                ],
            )

    def _update(self, table: Relation, rows: Composable) -> Composable:
        values = joined(sql("{} = {}", ident(name), _expression(value)) for name, value in self.set.items())
        where = sql(" and ({})", verbatim(self.where)) if self.where is not None else verbatim("")
        return sql("update only {} set {} where {}{}", table.ident, values, rows, where)

    def notes(self, db: Catalog) -> Sequence[str]:
        below = db.descendants(db.table(self.table, self.schema)) if db.online else ()
        return [f"{each} is a foreign table, whose rows are left as they are" for each in below if each.kind == "f"]

    def _key(self, db: Catalog, table: Relation) -> Sequence[str]:
        if not db.online:
            return self.key
        if self.key:
            if name := db.session.value(nullable_in(literal(table.oid), self.key)):
                raise InvalidOperation(f"column {name!r} of {table} {NULLABLE}")
            return self.key
        key = db.key_of(table)
        if key is None:
            raise InvalidOperation(
                f"{table} has no primary key and no unique index without NULLs to go by: say key=[...] with indexed columns"
                " that tell its rows apart"
            )
        return key

    def _check_columns(self, db: Catalog, table: Relation) -> None:
        if not db.online:
            return
        columns = {column.name: column for column in db.columns(table)}
        for name in [*self.set, *self.key]:
            if name not in columns:
                raise InvalidOperation(f"{table} has no column {name!r}: it has {', '.join(columns)}")
        for name in self.set:
            if columns[name].generated:
                raise InvalidOperation(f"column {name!r} of {table} is generated: change its expression")

    def _check_keys(self, db: Catalog, table: Relation) -> None:
        """Refuse to set what tells which rows are done, each table by its own key, and which rows a partition has."""
        key = self._key_columns(db, table) if db.online else self.key
        key = _with_what_generates(db, table, key) if db.online else key
        by = _columns_of_partition_key(db, table) if table.partitioned and db.online else ()
        for name in self.set:
            if name in key:
                raise InvalidOperation(
                    f"column {name!r} is part of the key by which batches go through {table}: say key=[...] without it"
                )
            if name in by:
                raise InvalidOperation(
                    f"{table} is partitioned by column {name!r}, and batches cannot move rows to other partitions: use an"
                    " UPDATE"
                )

    def _key_columns(self, db: Catalog, table: Relation) -> Sequence[str]:
        return self.key or db.key_of(table) or ()


def _refuse_compound(value: Any, whose: str) -> None:
    """Refuse what Python and PostgreSQL write in different ways."""
    if isinstance(value, Sequence | Mapping) and not isinstance(value, str | bytes):
        raise InvalidOperation(f"the value of {whose} is a {type(value).__name__}: write it in SQL, as a text")


def _expression(value: Any) -> Composable:
    return verbatim(value) if isinstance(value, str) else literal(value)


def _with_what_generates(db: Catalog, table: Relation, names: Sequence[str]) -> Sequence[str]:
    """Give columns with those of which generated ones among them are made."""
    rows = db.session.rows(
        sql(
            "select distinct b.attname from pg_attribute g join pg_attrdef e on (e.adrelid, e.adnum) = (g.attrelid, g.attnum)"
            " join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = e.oid"
            " and d.refclassid = 'pg_class'::regclass and d.refobjid = g.attrelid"
            " join pg_attribute b on (b.attrelid, b.attnum) = (d.refobjid, d.refobjsubid)"
            " where g.attrelid = {} and g.attgenerated <> '' and g.attname = any({})",
            literal(table.oid),
            literal(list(names)),
        )
    )
    return [*names, *(name for (name,) in rows)]


def _columns_of_partition_key(db: Catalog, table: Relation) -> Sequence[str]:
    """Give all columns by which a table is partitioned, those in expressions, too: they depend on it, as the server has it."""
    rows = db.session.rows(
        sql(
            "select a.attname from pg_depend d join pg_attribute a on a.attrelid = d.objid and a.attnum = d.objsubid"
            " where d.classid = 'pg_class'::regclass and d.objid = {table} and d.objsubid > 0 and d.deptype = 'i'"
            " and d.refclassid = 'pg_class'::regclass and d.refobjid = {table} and d.refobjsubid = 0",
            table=literal(table.oid),
        )
    )
    return [name for (name,) in rows]


# -- columns that come and go --------------------------------------------------------------------------------------------


# reserved words, which no name is without quotes
_CONSTRAINT = re.compile(r"\b(check|references|unique|primary\s+key|constraint)\b", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


@dataclass(frozen=True, repr=False)
class ColumnOperation(StateOperation):
    """A column by its name, table and definition."""

    table: str
    name: str
    type: Any
    _: KW_ONLY
    default: Any = None
    nullable: bool = True
    key: Sequence[str] = ()
    schema: str | None = None

    def check(self) -> None:
        """Refuse what no table with rows in it would take."""
        check_name(self.name, f"a column of {self.table}")
        _refuse_compound(self.default, f"column {self.name!r} of {self.table}")
        if word := _CONSTRAINT.search(_QUOTED.sub("", self.type)):
            raise InvalidOperation(
                f"column {self.name!r} of {self.table} says {word[0].upper()} in its type: add the constraint by its own operation"
            )
        if not self.nullable and self.default is None:
            raise InvalidOperation(
                f"column {self.name!r} of {self.table} may not be NULL and has no default, which the rows that are there need: say default="
            )

    @property
    def kind(self) -> Composable:
        """What stands after the name."""
        return verbatim(self.type)

    @property
    def said_default(self) -> Composable:
        """The DEFAULT clause."""
        return verbatim("") if self.default is None else sql(" default {}", _expression(self.default))

    def tree(self, db: Catalog) -> list[Relation]:
        """Look up the table and all below it, which share its columns."""
        table = db.table(self.table, self.schema)
        if table.kind == "m":
            raise InvalidOperation(f"{table} is a materialized view: its columns are those of its query")
        return [table, *db.descendants(table)]

    def same_or_refuse(self, db: Catalog, table: Relation, wanted: ColumnShape) -> ColumnShape | None:
        """Take an equal column for the operation's own, and refuse another one of that name."""
        there = db.column_shape(literal(table.oid), self.name)
        if there is not None and (there.definition != wanted.definition or (there.not_null and self.nullable)):
            raise InvalidOperation(
                f"there is a column {self.name!r} of {table} already, and it is another one:\n"
                f"  there is  {there}\n  wanted is {replace(wanted, not_null=not self.nullable)}"
            )
        return there


@operation("add_column_online")
class AddColumnOnline(ColumnOperation):
    """Add a column with any default while the table is in use.

    Takes ACCESS EXCLUSIVE for an instant, on partitions and inheritance children, too. A default that PostgreSQL can keep
    aside, such as a constant or ``now()``, needs nothing else. One that would make all rows anew (``gen_random_uuid()``,
    ``nextval()``, ``clock_timestamp()``) is at first for new rows only; the old ones, where the column is NULL, are then
    filled as by `backfill`, by ``key`` where there is no primary key, and NOT NULL comes last, as by
    `set_not_null_online`; that needs `install_pgopt`::

        op.add_column_online("tickets", "token", "uuid", default="gen_random_uuid()", nullable=False)

    The type is what follows the name in SQL, collation included. The default is an SQL expression, or a value that is
    no text. An equal column counts as done; another one of that name is an error. Identity and stored generated columns
    cannot be added to rows that are there without making them anew, and are refused.
    """

    def reverse(self) -> DropColumnOnline:
        return DropColumnOnline(**_definition(self))

    @property
    def makes(self) -> Sequence[str]:
        return [self.name]

    def plan(self, db: Catalog) -> Iterator[Step | BatchStep]:
        tree = self.tree(db)
        wanted = db.shape_of_column(tree[0], self.kind, self.said_default)
        self._refuse(tree[0], wanted)
        there = self.same_or_refuse(db, tree[0], wanted)
        if there is None:
            self._refuse_of_children(db, tree[1:])
        if not wanted.rewrites:
            yield self._add(tree, sql("{}{}", self.said_default, verbatim("" if self.nullable else " not null")))
        else:
            db.require_pgopt()
            yield self._add(tree, verbatim(""), *self._for_new_rows(tree))
            yield from self._fill(db, tree, there)
        if not self.nullable and (wanted.rewrites or (there is not None and not there.not_null)):
            yield from SetNotNullOnline(self.table, self.name, schema=self.schema).plan(_Foreseeing(db, self.name))

    def _refuse_of_children(self, db: Catalog, children: Sequence[Relation]) -> None:
        """Refuse where an inheritance child has such a column: it would get this default, and keep it on the way back."""
        for child in children:
            if db.column_shape(literal(child.oid), self.name) is not None:
                raise InvalidOperation(
                    f"{child}, which inherits from {self.table}, has a column {self.name!r} of its own: rename one of them"
                )

    def _add(self, tree: Sequence[Relation], more: Composable, *statements: Composable) -> Step:
        table = tree[0]
        return Step(
            f"add {self.name} to {table}",
            [sql("alter table {} add column {} {}{}", table.ident, ident(self.name), self.kind, more), *statements],
            locks=on_all(Mode.ACCESS_EXCLUSIVE, tree),
            done=lambda db: db.column_shape(literal(table.oid), self.name) is not None,
        )

    def _for_new_rows(self, tree: Sequence[Relation]) -> Iterator[Composable]:
        yield sql(
            "alter table {} alter column {} set default {}", tree[0].ident, ident(self.name), _expression(self.default)
        )
        # how far batches came with a column of that name which is gone
        for table in tree:
            label = literal(f"{_label([self.name], table)} (")
            key = "array_to_string(key, ', ')"
            yield sql("delete from pgopt.progress where starts_with(task, {} || {} || ') ')", label, verbatim(key))

    def _fill(self, db: Catalog, tree: Sequence[Relation], there: ColumnShape | None) -> Iterator[BatchStep]:
        """Give the rows that were there the default, in each table that has some without."""
        where = render(sql("{} is null", ident(self.name)))
        table = tree[0]
        backfill = Backfill(table.name, {self.name: self.default}, where=where, key=self.key, schema=table.schema)
        for step in backfill.plan(_Foreseeing(db, self.name)):
            if there is None or (not there.not_null and _any(db, step.table, where)):
                yield step

    def _refuse(self, table: Relation, wanted: ColumnShape) -> None:
        """Refuse what would make all rows anew in any case, and what has operations of its own."""
        reasons = {
            "would number all existing rows under ACCESS EXCLUSIVE: add a plain one with default=\"nextval('a_sequence')\"": (
                wanted.identity or wanted.serial
            ),
            "would be computed for all existing rows under ACCESS EXCLUSIVE: add a plain one, kept by a trigger, and backfill it": (
                wanted.generated == "s"
            ),
            "says NOT NULL in its type: say nullable=False": wanted.not_null,
            f"of the type {self.type} rewrites all rows even without a default, since that is a domain with constraints or a"
            " default of its own: use its base type, and create_check_constraint_online": wanted.rewrites_bare,
        }
        for reason, holds in reasons.items():
            if holds:
                raise InvalidOperation(f"column {self.name!r} of {table} {reason}")


@operation("drop_column_online")
class DropColumnOnline(ColumnOperation):
    """Drop a column; ACCESS EXCLUSIVE for an instant, on partitions and inheritance children, too. The values in it are lost.

    Refuses a column that indexes, constraints or others use, which would go with it, and one with a comment, grants or
    settings of its own. It can be undone as far as that goes: the column comes back as the last one, with the default in all rows::

        op.drop_column_online("tickets", "token", "uuid", default="gen_random_uuid()", nullable=False)
    """

    def reverse(self) -> AddColumnOnline:
        return AddColumnOnline(**_definition(self))

    def notes(self, db: Catalog) -> Sequence[str]:  # noqa: ARG002
        return (f"what is in column {self.name!r} of {self.table} is dropped with it and does not come back",)

    def plan(self, db: Catalog) -> Iterator[Step]:
        tree = self.tree(db)
        table = tree[0]
        wanted = db.shape_of_column(table, self.kind, self.said_default)
        self.same_or_refuse(db, table, wanted)
        # what an interrupted run has left goes with the column
        proof = proof_name(table, self.name)
        for each in tree:
            if users := db.column_users(each, self.name, proof):
                raise InvalidOperation(f"column {self.name!r} of {each} is used by {', '.join(users)}: drop that first")
            for what, way_out in db.column_extras(each, self.name):
                raise InvalidOperation(
                    f"column {self.name!r} of {each} has {what}, which would not come back: {way_out} first"
                )
        yield Step(
            f"drop {self.name} of {table}",
            sql("alter table {} drop column {}", table.ident, ident(self.name)),
            locks=on_all(Mode.ACCESS_EXCLUSIVE, tree),
            done=lambda db: db.column_shape(literal(table.oid), self.name) is None,
        )


class _Foreseeing(Catalog):
    """The catalog as it will be when a column has been added."""

    def __init__(self, db: Catalog, name: str) -> None:
        super().__init__(db.session, memory=db.memory)
        self.added = Column(name, "", not_null=False, generated="", identity="")

    def columns(self, table: Relation) -> Sequence[Column]:
        there = super().columns(table)
        return there if self.added.name in [each.name for each in there] else [*there, self.added]


def _definition(of: ColumnOperation) -> dict[str, Any]:
    return {each.name: getattr(of, each.name) for each in fields(ColumnOperation)}


def _refuse_unwritable(db: Catalog, table: Relation) -> None:
    """Refuse a table whose rows cannot be updated before anything is changed, or nothing would be, and nobody hear of it."""
    for why in db.unwritable(table) if db.online else ():
        raise InvalidOperation(f"the rows of {table} cannot be set: {why}")


def _label(columns: Iterable[str], table: Relation) -> str:
    return f"backfill {', '.join(columns)} of {table}"


def _any(db: Catalog, table: Relation, where: str) -> bool:
    with db.session.settings(ALL_ROWS):
        return bool(db.session.value(sql("select exists (select from only {} where {})", table.ident, verbatim(where))))
