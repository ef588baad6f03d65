"""Promise 6: what `--sql` writes is run by psql to the same result as online."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt import NeedsDatabase
from pgopt.operations import Backfill, CreateIndexConcurrently, InstallPgopt
from tests.contract.conftest import differences, over, schema_of, versions

if TYPE_CHECKING:
    from tests.contract.examples import Example
    from tests.databases import Database


@over(lambda example: example.scriptable)
def test_script_does_what_the_runner_does(prepared: Database, twin: Database, example: Example) -> None:
    before = schema_of(prepared, example)
    prepared.perform(example.operation)
    twin.psql(twin.script(example.operation))
    assert schema_of(twin, example) == schema_of(prepared, example)
    assert differences(twin.contents(), prepared.contents()) == []
    if example.reversible:
        twin.psql(twin.script(*example.inverse))
        assert schema_of(twin, example) == before
        assert differences(twin.contents(), prepared.contents()) == []


@over(lambda example: example.scriptable and not isinstance(example.operation, InstallPgopt))
def test_script_for_another_database_changes_nothing(another: Database, example: Example) -> None:
    script = another.script(example.operation, CreateIndexConcurrently("ix_late", "late", ["a"]))
    another.run("create table late (a int)")
    before = versions(another)
    with pytest.raises(AssertionError, match="psql failed"):
        another.psql(script)
    assert differences(versions(another), before) == []


def test_installing_twice_by_script_changes_nothing(database: Database) -> None:
    script = database.script(InstallPgopt(1), CreateIndexConcurrently("ix_late", "late", ["a"]))
    database.run("create table late (a int)")
    database.perform(InstallPgopt(1))
    before = database.dump()
    with pytest.raises(AssertionError, match='schema "pgopt" already exists'):
        database.psql(script)
    assert database.dump() == before


@over(lambda example: not example.scriptable)
def test_what_must_see_the_database_says_so_before_it_changes_anything(prepared: Database, example: Example) -> None:
    before = versions(prepared)
    # psql's own word where only the server knows that it cannot be done
    sentence = r"^[^\n]+ run it online$|^psql failed:\nERROR:  [^\n]+ is partitioned: run this revision online\n"
    with pytest.raises((NeedsDatabase, AssertionError), match=sentence):
        prepared.psql(prepared.script(example.operation))
    assert differences(versions(prepared), before) == []


@pytest.mark.parametrize(
    "operation",
    [CreateIndexConcurrently("ix", "metrics", ["value"]), Backfill("metrics", {"value": "value"}, key=["site", "at"])],
    ids=repr,
)
def test_script_stops_at_a_partitioned_table_before_its_first_statement(
    database: Database, operation: CreateIndexConcurrently | Backfill
) -> None:
    database.run("create table metrics (site int, at date, value int) partition by list (site); create table t (a int)")
    before = database.dump()
    with pytest.raises(AssertionError, match=r"ERROR:  metrics is partitioned: run this revision online"):
        database.psql(database.script(operation))
    assert database.dump() == before


def test_script_stops_by_itself(database: Database) -> None:
    lines = [line for line in database.script(InstallPgopt(1)).splitlines() if line.strip() and line != "BEGIN;"]
    assert lines[0] == "\\set ON_ERROR_STOP on"
