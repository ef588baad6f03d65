"""A database for each example, as it was before its operation."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pytest_postgresql import factories

from pgopt.operations import InstallPgopt
from tests.contract.examples import EXAMPLES, Example
from tests.contract.failures import MOST
from tests.contract.killpoints import TALLY
from tests.databases import Database
from tests.servers import Server, major_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection


MAJOR = major_version()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the examples of what the server's major does not have: a test that was skipped would say nothing."""
    here = [item for item in items if since(item) <= MAJOR]
    config.hook.pytest_deselected(items=[item for item in items if since(item) > MAJOR])
    items[:] = here


def since(item: pytest.Item) -> int:
    """The major from which on a test's example works."""
    example = item.callspec.params.get("example") if hasattr(item, "callspec") else None
    return example.since if isinstance(example, Example) else 0


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note whether all named examples are run."""
    selected = [item for item in session.items if item.get_closest_marker("named")]
    TALLY.complete = len(selected) == len(MOST) * len([each for each in EXAMPLES if each.named and each.since <= MAJOR])


@pytest.fixture(params=EXAMPLES, ids=str)
def example(request: pytest.FixtureRequest) -> Example:
    """Each example in turn."""
    found: Example = request.param
    return found


def install(**where: Any) -> None:
    """Install what many examples begin with, once for all of them."""
    server = Server(where["host"], where["port"], where["user"], where["password"])
    Database(server, where["dbname"]).perform(INSTALLED)


INSTALLED = InstallPgopt(1)
postgresql_installed = factories.postgresql_noproc(depends_on="server", dbname="tests_installed", load=[install])
another_installed = factories.postgresql("postgresql_installed")


@pytest.fixture
def database(request: pytest.FixtureRequest, server: Server) -> Database:
    """A database of the test's own: empty, or with what its example begins with."""
    installed = "example" in request.fixturenames and begins_installed(request.getfixturevalue("example"))
    connection: Connection[object] = request.getfixturevalue("another_installed" if installed else "postgresql")
    return Database(server, connection.info.dbname)


def begins_installed(example: Example) -> bool:
    """Whether the pgopt schema is there before anything else."""
    return example.before[:1] == (INSTALLED,)


@pytest.fixture
def prepared(database: Database, example: Example) -> Database:
    """The example's database."""
    database.run(example.setup)
    database.perform(*example.before[begins_installed(example) :])
    return database


# pytest-postgresql tells the workers of pytest-xdist apart in names of its own only
TWIN = f"tests_twin{os.environ.get('PYTEST_XDIST_WORKER', '')}"
another_postgresql = factories.postgresql("postgresql_server", dbname=TWIN)


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


def write(database: Database, example: Example, *, times: int, start: int = 1) -> None:
    """Do what a writer does, some times."""
    for number in range(start, start + times):
        if example.writes:
            database.run(example.writes.replace("{n}", str(number)))


def schema_of(database: Database, example: Example) -> str:
    """The schema as pg_dump writes it; with pgopt's own where the example is about that."""
    if type(example.operation).__module__ in ("pgopt.operations.support", "pgopt.operations.monitoring"):
        return database.server.run("pg_dump", database.name, "--schema-only", "--restrict-key=pgopt")
    return database.dump() + rules_of(database.value) + jobs_of(database.value)


RULES = {
    "pgopt.partitioned": "row(relation, premake, keep, on_expiry, archive_schema)",
    "pgopt.retention_policy": "to_jsonb(t) - 'at'",
}


def rules_of(ask: Callable[[str], Any]) -> str:
    """How partitions go on and how long rows are kept, which pgopt's own schema holds."""
    return "\n".join(
        str(ask(f"select coalesce(string_agg(({row})::text, e'\\n' order by ({row})::text), '') from {table} t"))
        for table, row in RULES.items()
        if ask(f"select to_regclass('{table}')") is not None
    )


def jobs_of(ask: Callable[[str], Any]) -> str:
    """What is scheduled, and how; not when it has run."""
    if ask("select to_regclass('pgopt.job')") is None:
        return ""
    return str(
        ask(
            "select coalesce(string_agg(row(name, command, cron, every, timezone, catch_up, start_within, time_limit, retries, enabled)::text,"
            " e'\\n' order by name), '') from pgopt.job"
        )
    )


def differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> list[str]:
    """Where the contents of two databases differ: some rows, since pytest's own comparison of thousands takes minutes."""
    return [
        f"{table}: {row}"
        for table in sorted(one.keys() | other.keys())
        for row in sorted((Counter(one.get(table, [])) - Counter(other.get(table, []))).elements())[:5]
        + sorted((Counter(other.get(table, [])) - Counter(one.get(table, []))).elements())[:5]
    ] + [f"{table} is not in both" for table in sorted(one.keys() ^ other.keys())]
