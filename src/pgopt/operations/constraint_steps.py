"""The steps of which the constraint operations are made."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.sql import Composable

    from pgopt.operations.foreign_keys import ForeignKeyOperation
    from pgopt.operations.keys import KeyOperation
    from pgopt.server.catalog import Catalog, Relation

EXAMPLES = 5


def on_all(mode: Mode, tables: Sequence[Relation]) -> list[Lock]:
    """Give the lock on a table and all below it."""
    return [Lock(mode, table.name, table.schema) for table in tables]


def tree(db: Catalog, table: Relation) -> list[Relation]:
    """Give a table with its partitions and inheritance children, which share its constraints."""
    return [table, *db.descendants(table)]


def with_partitions(db: Catalog, table: Relation) -> list[Relation]:
    """Give a table, with its partitions where it has some."""
    return [table, *db.partitions(table)] if table.partitioned else [table]


def unless(step: Step, done: Callable[[Catalog], bool]) -> Step:
    """Let a step be done also where this is so."""
    return replace(step, done=lambda db: done(db) or (step.done is not None and step.done(db)))


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


# -- which rows stand in the way -----------------------------------------------------------------------------------------


def violating_rows(db: Catalog, *, table: Relation, condition: Composable, do: str = "violate it") -> str:
    """Count the rows that meet a condition, and show some by key."""
    key = db.key_of(table)
    columns = joined(map(ident, key)) if key else verbatim("ctid")
    count = db.session.value(sql("select count(*) from {} where {}", table.ident, condition))
    rows = db.session.rows(
        sql("select {} from {} where {} limit {}", columns, table.ident, condition, literal(EXAMPLES))
    )
    names = ", ".join(key or ["ctid"])
    shown = ", ".join(str(row[0]) if len(row) == 1 else str(tuple(row)) for row in rows)
    return (
        f"{count} rows of {table} {do} ({names}: {shown}{', …' if count > len(rows) else ''}); mend them and run again"
    )


def orphans(
    db: Catalog, *, table: Relation, columns: Sequence[str], referent: Relation, referent_columns: Sequence[str]
) -> str:
    """Count the rows that refer to nothing, and show some."""
    ours = [sql("{}.{}", table.ident, ident(name)) for name in columns]
    theirs = [sql("r.{}", ident(name)) for name in referent_columns]
    condition = sql(
        "({}) and not exists (select from {} r where ({}) = ({}))",
        joined((sql("{} is not null", name) for name in ours), " and "),
        referent.ident,
        joined(theirs),
        joined(ours),
    )
    return violating_rows(db, table=table, condition=condition, do=f"refer to no row of {referent}")


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
