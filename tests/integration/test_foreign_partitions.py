"""Partitioned tables of which some partitions are foreign tables, and whole rows and names of tables in indexes of such."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation
from pgopt.operations import (
    AddColumnOnline,
    CreateCheckConstraintOnline,
    CreateIndexConcurrently,
    CreatePrimaryKeyOnline,
    CreateUniqueConstraintOnline,
    DropIndexConcurrently,
    InstallPgopt,
    Operation,
    SetColumnStatistics,
    SetNotNullOnline,
    SetStorageParameters,
    StateOperation,
)

if TYPE_CHECKING:
    from tests.databases import Database

PARTS = """
create foreign data wrapper w; create server s foreign data wrapper w;
create table parts (id int not null, kind text) partition by range (id);
create table part_1 partition of parts for values from (0) to (10);
create foreign table "Part 2" partition of parts for values from (10) to (20) server s;
"""


@pytest.fixture
def parts(database: Database) -> Database:
    """A partitioned table with a partition that is elsewhere."""
    database.run(PARTS)
    database.perform(InstallPgopt(1))
    return database


@pytest.mark.parametrize(
    "operation",
    [
        SetStorageParameters("parts", {"fillfactor": 70}),
        SetColumnStatistics("parts", "id", 70),
        CreateCheckConstraintOnline("ck", "parts", "id > 0"),
        SetNotNullOnline("parts", "kind"),
        AddColumnOnline("parts", "more", "int", default="1"),
    ],
    ids=lambda operation: operation.directive,
)
def test_what_a_foreign_partition_can_have_comes_and_goes(parts: Database, operation: StateOperation) -> None:
    before = parts.dump()
    parts.perform(operation)
    assert parts.dump() != before
    parts.perform(operation.reverse())
    assert parts.dump() == before


@pytest.mark.parametrize(
    "operation",
    [
        CreateIndexConcurrently("ix", "parts", ["kind"]),
        CreateUniqueConstraintOnline("u", "parts", ["id"]),
        CreatePrimaryKeyOnline("pk", "parts", ["id"]),
    ],
    ids=lambda operation: operation.directive,
)
def test_an_index_is_refused_with_the_reason(parts: Database, operation: Operation) -> None:
    before = parts.dump()
    with pytest.raises(InvalidOperation, match=r"Part 2 of public\.parts is a foreign table, .* detach it first"):
        parts.perform(operation)
    assert parts.dump() == before


def test_an_index_that_passes_a_foreign_partition_by_is_dropped(parts: Database) -> None:
    before = parts.dump()
    parts.run("create index on parts (kind)")
    parts.perform(DropIndexConcurrently("parts_kind_idx", "parts"))
    assert parts.dump() == before


# -- whole rows ----------------------------------------------------------------------------------------------------------

ROWS = """
create table events (id int, kind text) partition by range (id);
create table events_1 partition of events for values from (0) to (10);
create function row_of(events) returns int immutable language sql as 'select $1.id';
create table t (id int, a text);
create function row_of(t) returns int immutable language sql as 'select $1.id';
"""


@pytest.mark.parametrize(
    "index",
    [
        CreateIndexConcurrently("ix", "events", ["row_of(events)"]),
        CreateIndexConcurrently("ix", "events", ["id"], where="events.kind = 'a'"),
        CreateIndexConcurrently("ix", "events", ["id"], where="events.* is not null"),
    ],
    ids=repr,
)
def test_a_definition_that_means_nothing_on_a_partition_is_refused_before(
    database: Database, index: CreateIndexConcurrently
) -> None:
    database.run(ROWS)
    before = database.dump()
    with pytest.raises(InvalidOperation, match=r"says the name of public\.events, and its partitions have other names"):
        database.perform(index)
    assert database.dump() == before
    # a word that only looks like it is no reason
    database.perform(CreateIndexConcurrently("ix", "events", ["id"], where="kind = 'events'"))


CAST = """
create function either(t, t) returns t immutable language sql as 'select coalesce($1, $2)';
"""


@pytest.mark.parametrize(
    "expression",
    [
        "row_of(t::t)",
        "row_of((t.*)::public.t)",
        "row_of(coalesce(t, null::t))",
        "row_of(either(t, t::t))",
        "(t = t::t)",
        "(t::t is null)",
    ],
)
def test_a_row_that_is_cast_to_its_own_type_is_found_again(database: Database, expression: str) -> None:
    database.run(ROWS + CAST)
    before = database.dump()
    index = CreateIndexConcurrently("ix", "t", [expression])
    database.perform(index)
    there = database.dump()
    database.perform(index, index)
    assert database.dump() == there
    with pytest.raises(InvalidOperation, match="it is another one"):
        database.perform(CreateIndexConcurrently("ix", "t", [f"({expression} is not null)"]))
    database.perform(index.reverse())
    assert database.dump() == before


def test_a_check_of_the_whole_row_is_found_again(database: Database) -> None:
    database.run(ROWS)
    before = database.dump()
    check = CreateCheckConstraintOnline("ck", "t", "row_of(t) > 0 and row_of(t.*) < 100")
    database.perform(check, check)
    with pytest.raises(InvalidOperation, match="it is another one"):
        database.perform(CreateCheckConstraintOnline("ck", "t", "row_of(t) > 0 and row_of(t.*) < 101"))
    database.perform(check.reverse())
    assert database.dump() == before
