"""`pgopt.slow_queries`, with pg_stat_statements missing, not preloaded, at work and full: on a server of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgopt.operations import CreateExtension, InstallMonitoring, InstallPgopt
from tests.databases import Database
from tests.integration.test_chain import CHAIN
from tests.integration.test_monitoring import seen, watched  # noqa: F401  -- a fixture
from tests.servers import Server
from tools.server import server as running

if TYPE_CHECKING:
    from collections.abc import Iterator

PRELOADED = ("shared_preload_libraries=pg_stat_statements", "pg_stat_statements.max=500")


def state(database: Database) -> tuple[Any, ...]:
    """What the watcher is told of pg_stat_statements."""
    row = seen(database, "slow_queries_state()")[0]
    return row["state"], row["advice"] or ""


def test_a_server_without_it_says_so(watched: Database) -> None:  # noqa: F811
    name, advice = state(watched)
    assert name == "not preloaded"
    assert "shared_preload_libraries" in advice
    watched.run("create extension pg_stat_statements")
    assert state(watched)[0] == "not preloaded"
    assert seen(watched, "slow_queries") == []


@pytest.fixture
def recorded(server: Server) -> Iterator[Database]:
    """A database on a server that records statements, with the views and a role that may do nothing but watch."""
    bindir = os.environ.get("PGOPT_TEST_BINDIR") or server.bindir
    with running(Path(bindir), *PRELOADED) as folder:
        database = Database(Server(str(folder), 5432, bindir=bindir), "postgres")
        database.perform(InstallPgopt(1), InstallMonitoring())
        database.run("create role pgopt_watcher login; grant pg_monitor to pgopt_watcher")
        yield database


def test_it_works_as_soon_as_the_extension_is_there_and_tells_when_its_table_is_full(recorded: Database) -> None:
    assert state(recorded) == ("not installed", 'op.create_extension("pg_stat_statements")')
    assert seen(recorded, "slow_queries") == []
    recorded.run('create schema "Büro"; grant usage on schema "Büro" to public')
    recorded.perform(CreateExtension("pg_stat_statements", schema="Büro"))
    for _ in range(3):
        recorded.run("select pg_sleep(0.05)")
    assert state(recorded) == ("ok", "")
    row = next(row for row in seen(recorded, "slow_queries") if "pg_sleep" in row["query"])
    assert row["calls"] == 3
    assert row["total_exec_time"] >= 150
    assert row["mean_exec_time"] >= 50
    assert row["role"] == "postgres"
    with recorded.connect() as connection:
        for number in range(1, 701):
            connection.execute(f"select {', '.join(['1'] * number)}")
    assert state(recorded)[0] == "full"
    assert "pg_stat_statements.max" in state(recorded)[1]
    # the reference chain's job
    recorded.run(CHAIN.get_revision("0037").module.MAKE_ROOM)
    assert state(recorded)[0] == "ok"
    recorded.run("drop extension pg_stat_statements")
    assert state(recorded)[0] == "not installed"
