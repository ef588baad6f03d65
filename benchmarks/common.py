"""What the benchmarks share: a server, databases of their own in it, medians, a table and JSON."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import URL

SHOWN_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "deadlock_timeout",
)


@dataclass(frozen=True)
class Server:
    """A server that we may make databases in."""

    url: URL

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[Database]:
        """Make a database for a block, as a copy of a template."""
        made = Database(self.url.set(database=f"pgopt_bench_{os.getpid()}_{os.urandom(3).hex()}"))
        main = Database(self.url)
        main.run(f'create database "{made.name}" template "{template}"', "checkpoint")
        try:
            yield made
        finally:
            main.run(f'drop database "{made.name}" with (force)')

    def settings(self) -> dict[str, str]:
        """What decides how fast the server is."""
        with Database(self.url).connect() as connection:
            rows = connection.execute(
                "select name, current_setting(name) from pg_settings where name = any(%s)", [list(SHOWN_SETTINGS)]
            )
            found = dict(rows.fetchall())
        return {name: found[name] for name in SHOWN_SETTINGS if name in found}


@dataclass(frozen=True)
class Database:
    """A database of a benchmark's own."""

    url: URL

    @property
    def name(self) -> str:
        """Its name on the server."""
        return str(self.url.database)

    @property
    def sqlalchemy_url(self) -> str:
        """Its address for an engine."""
        return self.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    @property
    def address(self) -> str:
        """Its address for libpq."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Open a connection in autocommit."""
        return psycopg.connect(self.address, autocommit=True, **options)

    def run(self, *statements: str) -> None:
        """Run some statements."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def server() -> Iterator[Server]:
    """Use the server of DATABASE_URL, or start PostgreSQL 18 from the wheel as it comes, in a temporary folder."""
    if given := os.environ.get("DATABASE_URL"):
        yield Server(make_url(given.replace("postgres://", "postgresql://", 1)))
        return
    from pgopt import embedded

    data = tempfile.mkdtemp(prefix="pgopt-bench-")
    try:
        with embedded.server(data) as url:
            yield Server(url)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@dataclass(frozen=True)
class Measure:
    """What was measured of one way to do something, in all runs."""

    name: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        """Everything, so that a reader can see how it scatters."""
        return {**asdict(self), "median": self.median, "min": min(self.values), "max": max(self.values)}


def surroundings(settings: dict[str, str] | None = None) -> dict[str, Any]:
    """Say on what was measured."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "server": settings or {},
    }


def print_surroundings(found: dict[str, Any]) -> None:
    """Print it in two lines."""
    print(f"Python {found['python']}, {found['cores']} cores, load {found['load']} at the end")
    if found["server"]:
        print(", ".join(f"{name} = {value}" for name, value in found["server"].items()))


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table in Markdown, so that it can be put into a page as it is."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(f"\n{title}\n", *lines, sep="\n")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Let the user have the result as JSON, too."""
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON to a file (- is the standard output)")


def write_json(target: str | None, result: dict[str, Any]) -> None:
    """Write the result where it was wanted."""
    if target == "-":
        json.dump(result, sys.stdout, indent=1)
        print()
    elif target:
        Path(target).write_text(json.dumps(result, indent=1) + "\n")


def progress(text: str) -> None:
    """Tell what is being measured: in one line on a terminal, else with the time, in a line for each."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
