"""What a table looks like, and how another is made like it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation
from pgopt.server.locks import Lock, Mode, allowed
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, name_of, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

PACKAGE = __package__
PLAIN, PARTED, PART, GONE = "plain", "parted", "part", "gone"
"""What there is beside a table: its plain or its partitioned form, being made or kept up; what was made for it as a partition; and what
is of no use any more."""
PIECES, WHOLE, REST = "pieces", "whole", "rest"
"""What there is beside a partition that is split: what holds its pieces until they are attached; itself, when they are; and the piece
that takes the place of a default."""
QUALIFIED = "select set_config('search_path', '', true), set_config('row_security', 'off', true)"
"""Sent in a transaction before definitions are read, so that the server writes all names in full, and hides no rows."""


def beside(name: str, form: str) -> str:
    """Name the relation that takes, or gave up, the place of another."""
    return name_of(name, f"pgopt_{form}")


def proof_of(table: Relation) -> str:
    """Name the CHECK which spares the attachment its scan."""
    return name_of(table.name, "pgopt_bound")


def other(form: str) -> str:
    """Give the other form of a table."""
    return PARTED if form == PLAIN else PLAIN


@dataclass(frozen=True)
class Index:
    """An index of a table, as it is made anew on another."""

    name: str
    unique: bool
    constraint: str | None
    """The definition of the primary key or unique constraint that it serves."""
    tail: str
    """What follows the table in CREATE INDEX."""
    columns: Sequence[str]
    """Its key columns; not all of its key where it has expressions."""
    keys: Sequence[str]
    """Its key, as the server writes it."""
    predicate: str | None
    nulls_are_equal: bool

    def widened(self, column: str) -> Index:
        """Add a column to the key of a unique index that lacks it."""
        if not self.unique or column in self.columns:
            return self
        return replace(
            self,
            constraint=self.constraint and _insert(self.constraint, column),
            tail=_insert(self.tail, column),
            columns=[*self.columns, column],
        )

    def create(self, name: str, table: Composable) -> Composable:
        """Make it on another table, under a name."""
        if self.constraint is not None:
            return sql("alter table {} add constraint {} {}", table, ident(name), verbatim(self.constraint))
        unique = verbatim("unique " if self.unique else "")
        return sql("create {}index {} on {} {}", unique, ident(name), table, verbatim(self.tail))

    def create_concurrently(self, name: str, table: Composable) -> Composable:
        """Make it while the table is in use; without the constraint, which `use` makes of it."""
        unique = verbatim("unique " if self.unique else "")
        return sql("create {}index concurrently {} on {} {}", unique, ident(name), table, verbatim(self.tail))

    def use(self, name: str, new_name: str, table: Relation) -> Composable:
        """Let an index be what this is under another name, with its constraint where it has one."""
        if self.constraint is None:
            return sql("alter index {} rename to {}", ident(table.schema, name), ident(new_name))
        kind = "primary key" if self.constraint.startswith("PRIMARY KEY") else "unique"
        timing = " ".join(word for word in ("DEFERRABLE", "INITIALLY DEFERRED") if f" {word}" in self.constraint[-30:])
        return sql(
            "alter table {} add constraint {} {} using index {} {}",
            table.ident,
            ident(new_name),
            verbatim(kind),
            ident(name),
            verbatim(timing),
        )


def indexes_of(db: Catalog, table: Relation) -> list[Index]:
    """Give the indexes of a table, the primary key first."""
    rows = db.session.rows(query("indexes", PACKAGE, table=literal(table.oid)))
    return [Index(*row) for row in rows]


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key from one table to another."""

    table: str
    schema: str
    name: str
    definition: str
    referent: int
    owner: int
    referent_columns: Sequence[str]
    columns: Sequence[str]
    match: str
    comment: str | None


def foreign_keys_of(db: Catalog, table: Relation) -> list[ForeignKey]:
    """Give the foreign keys of a table."""
    return [] if table.kind == "m" else _foreign_keys(db, sql("o.conrelid = {}", literal(table.oid)))


def foreign_keys_to(db: Catalog, table: Relation) -> list[ForeignKey]:
    """Give the foreign keys of other tables, or of its own, to a table."""
    return _foreign_keys(db, sql("o.confrelid = {}", literal(table.oid)))


def _foreign_keys(db: Catalog, side: Composable) -> list[ForeignKey]:
    return [ForeignKey(*row) for row in db.session.rows(query("foreign_keys", PACKAGE, side=side))]


def views_on_keys(db: Catalog, table: Relation) -> list[tuple[str, str]]:
    """Give the views whose GROUP BY rests on a key of a table, with the key first."""
    rows = db.session.rows(
        sql(
            "select distinct o.conname, r.ev_class::regclass::text from pg_constraint o"
            " join pg_depend d on d.refclassid = 'pg_constraint'::regclass and d.refobjid = o.oid"
            " and d.classid = 'pg_rewrite'::regclass join pg_rewrite r on r.oid = d.objid where o.conrelid = {} order by 1, 2",
            literal(table.oid),
        )
    )
    return [(name, view) for name, view in rows]


def obstacles_to(db: Catalog, table: Relation, proof: str = "", ours: Sequence[str] = ()) -> list[str]:
    """Give what of a table cannot come along when another takes its place, beside a CHECK and indexes that are ours."""
    bound = bound_to(table)
    found = query(
        "obstacles", PACKAGE, table=literal(table.oid), proof=literal(proof), ours=literal([*ours]), bound=bound
    )
    return [said for (said,) in db.session.rows(found)]


def bound_to(*tables: Relation) -> Composable:
    """Ask what is bound to tables themselves, where others take their places: where it is listed, and each with its way out."""
    return query("bound_to", PACKAGE, tables=literal([table.oid for table in tables]))


def refuse_unlockable(db: Catalog, tables: Sequence[Relation]) -> None:
    """Refuse to bring over what is written to tables of which we cannot keep writers out at the end."""
    wanted = [Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in tables]
    for lock in allowed(db.session, wanted):
        if lock.by_statement:
            raise InvalidOperation(
                f"{lock.schema}.{lock.name} belongs to another role, so nobody can be kept from writing to it while others take its place:"
                " be a member of that role, or have it grant UPDATE"
            )


def rights_to(
    db: Catalog, tables: Sequence[Relation], *, moved: Sequence[Relation], anew: Sequence[Relation]
) -> list[str]:
    """Give what we have no right to make anew of some tables and materialized views, each with what to grant.

    Some give all that belongs to them to others, and of some others are made, with their columns and expressions.
    """
    oids = {"tables": tables, "moved": moved, "anew": anew}
    found = query("rights", PACKAGE, **{name: literal([each.oid for each in of]) for name, of in oids.items()})
    return [said for (said,) in db.session.rows(found)]


def functions_on_conflict(db: Catalog, table: Relation) -> list[str]:
    """Give the functions whose text says ON CONFLICT and the name of a table."""
    rows = db.session.rows(
        sql(
            "select p.oid::regprocedure::text from pg_proc p where p.prosrc ~* 'on[[:space:]]+conflict' and strpos(p.prosrc, {}) > 0"
            " and p.pronamespace is distinct from to_regnamespace('pgopt') order by 1",
            literal(table.name),
        )
    )
    return [name for (name,) in rows]


def like(table: Relation, name: str, then: Composable) -> Iterator[Composable]:
    """Make an empty table with the same columns, defaults and checks."""
    made = ident(table.schema, name)
    yield sql(
        "create table {} (like {} including defaults including constraints including generated including storage"
        " including compression including comments) {}",
        made,
        table.ident,
        then,
    )
    yield without_defaults(made)


def without_defaults(made: Composable) -> Composable:
    """Have default privileges neither open to others what was just made, nor close it to us."""
    return sql("select pgopt.without_defaults({}::regclass)", literal(render(made)))


def stored_columns(db: Catalog, table: Relation) -> list[str]:
    """Give the columns that are written, and not generated."""
    return [column.name for column in db.columns(table) if not column.generated]


def _insert(definition: str, column: str) -> str:
    """Put a column at the end of the first list in parentheses."""
    end = closing(definition)
    return f"{definition[:end]}, {render(ident(column))}{definition[end:]}"


def closing(text: str) -> int:
    """Tell where the first parenthesis of a text is closed."""
    depth, quote = 0, ""
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return place
    raise AssertionError(text)


def tree(db: Catalog, table: Relation) -> list[Relation]:
    """Give a table and its partitions."""
    return [table, *db.partitions(table)]


def in_order(
    referencing: Iterable[Relation], tables: Iterable[Relation], referents: Iterable[Relation]
) -> list[Relation]:
    """Give relations once each, in the order in which writers lock them: parents before partitions, referents last."""
    found = {each.oid: each for each in (*referencing, *tables, *referents)}
    return list(found.values())
