"""A server for the session, and a database of its own for each test that asks for one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest
from pytest_postgresql import factories

from tests.databases import Database
from tests.servers import Server, embedded, hurry, named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL 18 from the wheel, or the server that PGOPT_TEST_DSN names."""
    if dsn := os.environ.get("PGOPT_TEST_DSN"):
        yield named(dsn)
        return
    with embedded() as found:
        hurry(found)
        yield found


@pytest.fixture(scope="session")
def major(server: Server) -> int:
    """The major version of the server."""
    with psycopg.connect(server.dsn(server.maintenance_dbname)) as connection:
        return connection.info.server_version // 10000


postgresql_server = factories.postgresql_noproc(depends_on="server")
postgresql = factories.postgresql("postgresql_server")


@pytest.fixture
def database(server: Server, postgresql: Connection[object]) -> Database:
    """An empty database of the test's own."""
    return Database(server, postgresql.info.dbname)
