"""The steps of which the constraint operations are made."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation
from pgopt.plan.step import Step
from pgopt.server.keys import equality_of
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.sql import Composable

    from pgopt.operations.foreign_keys import ForeignKeyOperation
    from pgopt.operations.keys import KeyOperation
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

EXAMPLES = 5


def on_all(mode: Mode, tables: Sequence[Relation]) -> list[Lock]:
    """Give the lock on a table and all below it."""
    return [Lock(mode, table.name, table.schema, by_statement=table.kind == "f") for table in tables]


def table_of(db: Catalog, name: str, schema: str | None) -> Relation:
    """Look up a table that can have constraints."""
    table = db.table(name, schema)
    if table.kind == "m":
        raise InvalidOperation(f"{table} is a materialized view, which can have no constraints: create a unique index")
    return table


def tree(db: Catalog, table: Relation) -> list[Relation]:
    """Give a table with its partitions and inheritance children, which share its constraints."""
    return [table, *db.descendants(table)]


def with_partitions(db: Catalog, table: Relation) -> list[Relation]:
    """Give a table, with its partitions where it has some."""
    return [table, *db.partitions(table)] if table.partitioned else [table]


def check_timing(of: KeyOperation | ForeignKeyOperation) -> None:
    """Refuse what no server would take."""
    if of.initially_deferred and not of.deferrable:
        raise InvalidOperation(f"{of.name} is initially_deferred, and so must be deferrable")


def timing(of: KeyOperation | ForeignKeyOperation) -> Composable:
    """Say when a constraint is checked."""
    later = " deferrable initially deferred" if of.initially_deferred else " deferrable"
    return verbatim(later if of.deferrable else "")


def add(name: str, what: Composable, tables: Sequence[Relation], locks: Sequence[Lock]) -> Step:
    """Add a constraint to the first of the tables, for new rows only."""
    return Step(
        f"add {name} to {tables[0]} for new rows",
        sql("alter table {} add constraint {} {} not valid", tables[0].ident, ident(name), what),
        locks=locks,
        done=partial(has, name=name, table=tables[0]),
    )


def validate(
    name: str,
    tables: Sequence[Relation],
    explain: Callable[[Catalog], str],
    *,
    also: Sequence[Lock] = (),
    give_up: Sequence[Step] = (),
) -> Step:
    """Check the rows that are there against a constraint."""
    return Step(
        f"check the rows of {tables[0]} against {name}",
        sql("alter table {} validate constraint {}", tables[0].ident, ident(name)),
        locks=[*on_all(Mode.SHARE_UPDATE_EXCLUSIVE, tables), *also],
        done=partial(is_valid, name=name, table=tables[0]),
        explain=explain,
        give_up=give_up,
    )


def drop(name: str, tables: Sequence[Relation], also: Sequence[Lock] = ()) -> Step:
    """Drop a constraint."""
    return Step(
        f"drop {name} of {tables[0]}",
        sql("alter table {} drop constraint {}", tables[0].ident, ident(name)),
        locks=[*on_all(Mode.ACCESS_EXCLUSIVE, tables), *also],
        done=lambda db: db.constraint(tables[0], name) is None,
    )


def is_never_null(db: Catalog, table: Relation, column: str) -> bool:
    """Whether NOT NULL holds for all rows; up to 17 it always does where it is there."""
    named = db.not_null(table, column)
    return db.column(table, column).not_null and (named is None or named.valid)


def has(db: Catalog, *, name: str, table: Relation) -> bool:
    """Whether a table has a constraint."""
    return db.constraint(table, name) is not None


def is_valid(db: Catalog, *, name: str, table: Relation) -> bool:
    """Whether a constraint holds for all rows."""
    constraint = db.constraint(table, name)
    return constraint is not None and constraint.valid


def same_or_refuse(db: Catalog, name: str, table: Relation, wanted: Composable) -> None:
    """Take an equal constraint for the operation's own, and refuse another one of that name."""
    there = db.constraint(table, name)
    if there is not None and there.definition != (definition := db.constraint_definition(table, wanted)):
        raise InvalidOperation(
            f"there is a constraint {name} on {table} already, and it is another one:\n  there is  {there.definition}\n"
            f"  wanted is {definition}"
        )


def note_not_valid(db: Catalog, name: str, table: Relation) -> list[str]:
    """Say that a constraint would come back otherwise than it was."""
    there = db.constraint(table, name)
    if there is None or there.valid:
        return []
    return [f"constraint {name} of {table} is NOT VALID: when this is undone, the rows are checked against it"]


def refuse_to_lose(db: Catalog, name: str, table: Relation) -> None:
    """Refuse to drop a constraint with what would not come back."""
    there = db.constraint(table, name)
    if there is not None and there.comment is not None:
        raise InvalidOperation(
            f"constraint {name} of {table} has the comment {there.comment!r}, which would not come back:"
            " COMMENT ON CONSTRAINT ... IS NULL first"
        )


# -- which rows stand in the way -----------------------------------------------------------------------------------------


def violating_rows(db: Catalog, *, tables: Sequence[Relation], condition: Composable, do: str = "violate it") -> str:
    """Count the rows that meet a condition in a table and those below it, and show some by key."""
    key = db.key_of(tables[0])
    columns = joined(map(ident, key)) if key else verbatim("ctid")
    found = _rows(tables, columns, condition)
    count = db.session.value(sql("select count(*) from ({}) r", found))
    rows = db.session.rows(sql("{} limit {}", found, literal(EXAMPLES)))
    names = ", ".join(key or ["ctid"])
    shown = ", ".join(str(row[0]) if len(row) == 1 else str(tuple(row)) for row in rows)
    return (
        f"{count} rows of {tables[0]} {do} ({names}: {shown}{', …' if count > len(rows) else ''});"
        " mend them and run again"
    )


def _rows(tables: Sequence[Relation], columns: Composable, condition: Composable) -> Composable:
    if not any(table.kind == "f" for table in tables):
        return sql("select {} from {} where {}", columns, tables[0].ident, condition)
    # a server behind a foreign table is not asked when a constraint is checked, and need not be there
    return joined(
        (
            sql("select {} from only {} where {}", columns, table.ident, condition)
            for table in tables
            if table.kind == "r"
        ),
        " union all ",
    )


def orphans(
    db: Catalog,
    *,
    table: Relation,
    columns: Sequence[str],
    referent: Relation,
    referent_columns: Sequence[str],
    full: bool,
) -> str:
    """Count the rows that refer to nothing, and show some; with MATCH FULL those that refer in part, too."""
    condition = refers_to_nothing(db, table, columns, referent, referent_columns, full=full)
    do = f"refer to no row of {referent}"
    if full and len(columns) > 1:
        do += ", or have NULL in some of their columns and not in all"
    return violating_rows(db, tables=[table], condition=condition, do=do)


def refers_to_nothing(
    db: Catalog,
    table: Relation,
    columns: Sequence[str],
    referent: Relation,
    referent_columns: Sequence[str],
    *,
    full: bool,
) -> Composable:
    """Give the condition that a row of a table meets when a foreign key would refuse it."""
    ours = [sql("{}.{}", table.ident, ident(name)) for name in columns]
    # as the foreign key compares them, whatever the search path
    signs = map(verbatim, equality_of(db.session, referent, referent_columns))
    same = zip(referent_columns, signs, ours, strict=True)
    condition = sql(
        "({}) and not exists (select from {} r where {})",
        joined((sql("{} is not null", name) for name in ours), " and "),
        referent.ident,
        joined((sql("r.{} {} {}", ident(name), sign, value) for name, sign, value in same), " and "),
    )
    if not full or len(columns) == 1:
        return condition
    return sql("({}) or num_nulls({}) between 1 and {}", condition, joined(ours), literal(len(columns) - 1))


def duplicates(db: Catalog, *, table: Relation, columns: Sequence[str], nulls_are_equal: bool = False) -> str:
    """Count the keys that several rows have, and show some."""
    names = joined(map(ident, columns))
    known = joined((sql("{} is not null", ident(name)) for name in columns), " and ")
    groups = sql(
        "select {} , count(*) as times from {} where {} group by {} having count(*) > 1",
        names,
        table.ident,
        verbatim("true") if nulls_are_equal else known,
        names,
    )
    count = db.session.value(sql("select count(*) from ({}) g", groups))
    rows = db.session.rows(sql("{} limit {}", groups, literal(EXAMPLES)))
    shown = ", ".join(f"{', '.join(map(str, row[:-1]))} ({row[-1]} times)" for row in rows)
    more = ", …" if count > len(rows) else ""
    return f"{count} keys of {table} are there more than once ({', '.join(columns)}: {shown}{more}); mend them and run again"
