"""A database for each example, as it was before its operation."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pytest_postgresql import factories

from pgopt.operations import InstallPgopt
from tests.contract.examples import EXAMPLES, Example
from tests.contract.failures import MOST
from tests.contract.killpoints import IN_TURN, SEED, TALLY
from tests.databases import Database, names
from tests.servers import Server, major_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection


MAJOR = major_version()


ONE_OF = int(os.environ.get("PGOPT_PROMISES_ONE_OF", "1"))
"""Of how many promises of an example one is tested, by the draw of the seed; interruptions are always."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not for here: a test that was skipped would say nothing."""
    away = [item for item in items if not wanted(item)]
    items[:] = [item for item in items if wanted(item)]
    config.hook.pytest_deselected(items=away)


def wanted(item: pytest.Item) -> bool:
    """Whether the server's major has what a test's example is about, and the test is drawn."""
    example = item.callspec.params.get("example") if hasattr(item, "callspec") else None
    if not isinstance(example, Example):
        return True
    interrupts = item.get_closest_marker("drawn") or item.get_closest_marker("named")
    drawn = interrupts or random.Random(f"{SEED} {item.name}").randrange(ONE_OF) == 0
    return example.since <= MAJOR and bool(drawn)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note whether all named examples are run."""
    selected = [item for item in session.items if item.get_closest_marker("named")]
    here = [each for each in EXAMPLES if each.named and each.since <= MAJOR]
    TALLY.complete = len(selected) == (1 if IN_TURN else len(MOST)) * len(here)


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
    with database.connect() as connection:

        def ask(query: str) -> Any:
            return connection.execute(query).fetchall()[0][0]

        return database.dump() + rules_of(ask) + jobs_of(ask)


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


def versions(database: Database) -> dict[str, list[str]]:
    """The version of each row of the catalog and of the tables: a change of any makes a new one."""
    tables = names(
        database.rows(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'm') and c.relispopulated and n.nspname !~ '^pg_t' and n.nspname <> 'information_schema'"
            " and c.relname not in ('pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject') and not c.relisshared order by 1"
        )
    )
    # one query for all of them, for speed
    each = (
        f"select {number}, array(select ctid::text || ' ' || xmin::text from only {table} order by ctid)"
        for number, table in enumerate(tables)
    )
    return {tables[number]: rows for number, rows in database.rows(" union all ".join(each))}


def differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> list[str]:
    """Where the contents of two databases differ: some rows, since pytest's own comparison of thousands takes minutes."""
    return [
        f"{table}: {row}"
        for table in sorted(one.keys() | other.keys())
        for row in sorted((Counter(one.get(table, [])) - Counter(other.get(table, []))).elements())[:5]
        + sorted((Counter(other.get(table, [])) - Counter(one.get(table, []))).elements())[:5]
    ] + [f"{table} is not in both" for table in sorted(one.keys() ^ other.keys())]
