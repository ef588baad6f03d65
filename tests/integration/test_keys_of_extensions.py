"""Keys whose type is an extension's: by which operator they are equal, the search path of pgopt's functions does not tell."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from pgopt import Hash, InvalidOperation, ListOf, Monthly
from pgopt.operations import FinalizePartitioning, InstallPgopt, PartitionTable, SplitPartition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgopt.copy.by import Partitioning
    from pgopt.operations import Operation
    from tests.databases import Database

TABLE = """
create schema ext;
create extension {kind} schema {schema};
create table {table} (k {schema}.{kind}, at date not null, note int not null, primary key (k, at)){partitions};
insert into {table} select ('row' || g)::{schema}.{kind}, date '2026-01-01' + g % 60, g from generate_series(1, 2000) g;
create table wanted as table {table};
"""
RESPELLED = {
    # equal to what it was
    "citext": ["upper(k::text)", "initcap(k::text)", "lower(k::text)"],
    # another key
    "ltree": ["'a.' || k::text", "'b.' || k::text", "regexp_replace(k::text, '^.*[.]', '')"],
}


@dataclass
class Keyed:
    """A table with such a key, beside what is to be in it."""

    database: Database
    table: str
    type_: str
    respelled: Iterator[str]
    met: list[str] = field(default_factory=list)

    def change(self) -> None:
        """Spell most keys otherwise, let some rows move, and let some go and come."""
        for table in (self.table, "wanted"):
            self.database.run(f"delete from {table} where note % 31 = 0")
        spelled, note = next(self.respelled), self.database.value("select max(note) from wanted")
        for table in (self.table, "wanted"):
            self.database.run(
                f"update {table} set k = ({spelled})::{self.type_}, at = at + (note % 7 = 0)::int where note % 3 <> 0;"
                f"insert into {table} values ('new{note}', '2026-01-15', {note + 1})"
            )

    def perform(self, operation: Operation, *at: str) -> None:
        """Carry an operation out, with such a change before each step whose label begins so."""

        @contextmanager
        def look(_: Any, step: Any) -> Iterator[None]:
            if step.label.startswith(at or "\0"):
                self.met.append(step.label)
                self.change()
            yield

        self.database.perform(operation, pgopt_tracer=look)
        assert self.rows(self.table) == self.rows("wanted")

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return self.database.rows(f"select note, k::text, at from {table} order by note")


@pytest.fixture(params=[("citext", "public"), ("citext", "ext"), ("ltree", "public"), ("ltree", "ext")], ids="-".join)
def of(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The type of the key, and where it is: on the search path or not."""
    kind, schema = request.param
    return kind, schema


def keyed(database: Database, of: tuple[str, str], table: str = "t", partitions: str = "") -> Keyed:
    kind, schema = of
    database.perform(InstallPgopt(1))
    database.run(TABLE.format(kind=kind, schema=schema, table=table, partitions=partitions))
    return Keyed(database, table, f"{schema}.{kind}", cycle(RESPELLED[kind]))


BY_MONTH = PartitionTable("t", Monthly("at"))


@pytest.mark.parametrize("at", ["copy ", "build ", "compare ", "swap "])
def test_a_key_that_is_spelled_otherwise_keeps_its_row(database: Database, of: tuple[str, str], at: str) -> None:
    table = keyed(database, of)
    table.perform(BY_MONTH, at)
    assert table.met
    table.change()
    table.change()
    table.perform(BY_MONTH.reverse(), "swap ")


def test_a_way_back_that_copies_keeps_all_rows(database: Database, of: tuple[str, str]) -> None:
    table = keyed(database, of)
    table.perform(BY_MONTH)
    database.perform(FinalizePartitioning("t"))
    table.perform(BY_MONTH.reverse(), "copy ", "take rows", "compare ", "swap ")
    assert len(table.met) > 4


@pytest.mark.parametrize("at", [("swap ",), ("copy ", "take rows", "compare ", "swap ")])
def test_a_split_and_a_merge_keep_all_rows(database: Database, of: tuple[str, str], at: tuple[str, ...]) -> None:
    table = _ranges(database, of)
    split = SplitPartition("t", "t_old", at=["2026-02-01"], into=["t_one", "t_two"])
    for operation in (split, split.reverse()):
        table.perform(operation, *at)
    assert len(table.met) >= 2 * len(at)


def _ranges(database: Database, of: tuple[str, str]) -> Keyed:
    return keyed(
        database,
        of,
        partitions=" partition by range (at);"
        " create table t_old partition of t for values from ('2025-01-01') to ('2026-03-01');"
        " create table t_rest partition of t default",
    )


@pytest.mark.parametrize(
    "by",
    [Hash("k", partitions=3), ListOf("said", {"yes": ["YES"], "no": ["No", "nay"]})],
    ids=["hash", "list"],
)
def test_such_a_column_may_be_what_it_is_partitioned_by(database: Database, by: Partitioning) -> None:
    table = keyed(database, ("citext", "public"))
    for name in ("t", "wanted"):
        database.run(
            f"alter table {name} add said citext not null default 'yes';"
            f"update {name} set said = (array['NO', 'yes', 'Yes', 'Nay'])[1 + note % 4]"
        )
    operation = PartitionTable("t", by, widen_keys=True)
    table.perform(operation, "copy ", "take rows", "compare ", "swap ")
    table.change()
    table.perform(operation.reverse(), "swap ")


@pytest.mark.parametrize(
    ("type_", "ends"), [("citext", "'a', 'm'"), ("whole", "1, 1000"), ("mood", "'sad', 'glad'")], ids=str
)
def test_ranges_of_such_a_column_are_not_split(database: Database, type_: str, ends: str) -> None:
    low, high = ends.split(", ")
    database.run(
        "create extension citext; create domain whole as int; create type mood as enum ('sad', 'so-so', 'glad');"
        f"create table t (k {type_} primary key) partition by range (k);"
        f"create table t_old partition of t for values from ({low}) to ({high});"
        "create table t_rest partition of t default"
    )
    database.perform(InstallPgopt(1))
    before = database.dump()
    with pytest.raises(InvalidOperation, match=f"column 'k', by which it is partitioned, is {type_}, which is no type"):
        database.perform(
            SplitPartition(
                "t",
                "t_old",
                at=["b" if type_ == "citext" else "so-so" if type_ != "whole" else 50],
                into=["one", "two"],
            )
        )
    assert database.dump() == before


def test_rows_that_refer_to_one_spelled_otherwise_are_no_orphans(database: Database) -> None:
    database.run(
        "create schema ext; create extension citext schema ext;"
        "create table people (name ext.citext not null, at date not null, primary key (name));"
        "create table notes (id int primary key, about ext.citext constraint about references people);"
        "insert into people values ('Ann', '2026-01-05'); insert into notes values (1, 'ANN')"
    )
    before = database.dump()
    database.perform(InstallPgopt(1))
    operation = PartitionTable("people", Monthly("at"), widen_keys=True, incoming="drop")
    database.perform(operation)
    database.perform(operation.reverse())
    database.perform(InstallPgopt(1).reverse())
    assert database.dump() == before
