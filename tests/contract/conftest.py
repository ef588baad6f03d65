"""A database for each example, as it was before its operation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pytest_postgresql import factories

from tests.contract import killpoints
from tests.contract.examples import EXAMPLES, Example
from tests.databases import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from tests.servers import Server


@pytest.fixture(params=EXAMPLES, ids=str)
def example(request: pytest.FixtureRequest, major: int) -> Example:
    """Each example in turn."""
    found: Example = request.param
    if major < found.since:
        pytest.skip(f"needs PostgreSQL {found.since}")
    return found


@pytest.fixture
def prepared(database: Database, example: Example) -> Database:
    """The example's database."""
    prepare(database, example)
    return database


another_postgresql = factories.postgresql("postgresql_server", dbname="tests_twin")


@pytest.fixture
def another(server: Server, another_postgresql: Connection[object]) -> Database:
    """A second empty database."""
    return Database(server, another_postgresql.info.dbname)


@pytest.fixture
def twin(prepared: Database, another: Database) -> Database:
    """A second database like the example's, down to the values that the server drew."""
    another.psql(prepared.server.run("pg_dump", prepared.name))
    return another


def over(wanted: Callable[[Example], bool]) -> pytest.MarkDecorator:
    """Run a test over the examples of one kind alone."""
    return pytest.mark.parametrize("example", [each for each in EXAMPLES if wanted(each)], ids=str, indirect=True)


def prepare(database: Database, example: Example) -> None:
    """Bring a database to where the example begins."""
    database.run(example.setup)
    database.perform(*example.before)


def write(database: Database, example: Example, *, times: int, start: int = 1) -> None:
    """Do what a writer does, some times."""
    for number in range(start, start + times):
        if example.writes:
            database.run(example.writes.replace("{n}", str(number)))


def schema_of(database: Database, example: Example) -> str:
    """The schema as pg_dump writes it; with pgopt's own where the example is about that."""
    if type(example.operation).__module__ == "pgopt.operations.support":
        return database.server.run("pg_dump", database.name, "--schema-only", "--restrict-key=pgopt")
    return database.dump() + rules_of(database.value)


def rules_of(ask: Callable[[str], Any]) -> str:
    """How partitions go on, which pgopt's own schema holds."""
    if ask("select to_regclass('pgopt.partitioned')") is None:
        return ""
    return str(
        ask(
            "select coalesce(string_agg(row(relation, premake, keep, on_expiry, archive_schema)::text, e'\\n' order by relation::text), '')"
            " from pgopt.partitioned"
        )
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many kill points were exercised."""
    if line := killpoints.summary():
        terminalreporter.write_line(line)


def differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> list[str]:
    """Where the contents of two databases differ: some rows, since pytest's own comparison of thousands takes minutes."""
    return [
        f"{table}: {row}"
        for table in sorted(one.keys() | other.keys())
        for row in sorted((Counter(one.get(table, [])) - Counter(other.get(table, []))).elements())[:5]
        + sorted((Counter(other.get(table, [])) - Counter(one.get(table, []))).elements())[:5]
    ] + [f"{table} is not in both" for table in sorted(one.keys() ^ other.keys())]
