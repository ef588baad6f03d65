"""The five plans in a minute, on small tables: `make demo`.

Each system's tables are filled when its first revision has made them, its slow queries are measured, and the chain goes to head and
tells what it does; then they are measured again. It is done in the database of DATABASE_URL, or on the embedded server that
`alembic` uses here, and stays there.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import common
import headline
from alembic import command
from clock import Clock
from queries import QUERIES

from pgopt import embedded
from pgopt.env import read_url
from tools.data import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Iterator

ALEMBIC = ".venv/bin/alembic" if (headline.ROOT / ".venv").exists() else "alembic"
AT = "select version_num from alembic_version"
CHAIN = "select to_regclass('alembic_version') is not null"


@contextmanager
def place() -> Iterator[common.Database]:
    """Give the database, in which the chain is at its beginning."""
    if given := os.environ.get("DATABASE_URL"):
        database = common.Database(read_url(given, "DATABASE_URL"))
        if revision := revision_of(database):
            sys.exit(f"the database is at revision {revision}: take it back by {ALEMBIC} downgrade base, and try again")
        yield database
        return
    with embedded.server(headline.ROOT / ".pgdata") as url:
        database = common.Database(url)
        if revision_of(database):
            say("taking back what the last demonstration has left")
            headline.upgrade(database, "base", command.downgrade)
        yield database


def revision_of(database: common.Database) -> str | None:
    """Say at which revision it is."""
    with database.connect() as connection:
        found = connection.execute(CHAIN).fetchone()
        row = connection.execute(AT).fetchone() if found and found[0] else None
    return row[0] if row else None


def say(text: str) -> None:
    """Tell what comes."""
    print(f"\n=== {text}", flush=True)


def show(found: dict[str, dict[str, dict[str, headline.Seen]]]) -> None:
    """Print what became faster, and what the plan said."""
    lines: list[tuple[str, ...]] = []
    for query in (each for each in QUERIES if each.system in found["before"]):
        if not any(system == query.system for system, *_ in lines):
            lines.append((query.system, "", "", "", ""))
        before, after = (found[when][query.system][query.name] for when in ("before", "after"))
        times = f"{headline.ratio(before, after):,.1f}"
        told = (headline.number(before.warm), headline.number(after.warm), times)
        lines.append((f"  {query.name}", *told, query.claim.partition(":")[0]))
    head = ("query", "before ms", "after ms", "times", "its plan claims")
    title = "The slow queries of the five plans, with all in memory; what the plans claim is of larger tables"
    common.print_table(title, head, lines)


def main() -> None:
    """Fill, measure, upgrade, measure, and say how to go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="of each system, in all of its tables")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), help="which are filled")
    options = parser.parse_args()
    with place() as database:
        say(f"the tables of five applications, filled with {options.rows:,} rows each, from their baseline to head")
        found = headline.measure(database, options.systems, options.rows, Clock(), quick=True)
        show(found)
        print(f"\nIt is at revision {revision_of(database)}. To look around, and to go down again:\n")
    for line in ("current", "history --verbose", "downgrade -1", "downgrade base"):
        print(f"    {ALEMBIC} {line}")
    print("\nbenchmarks/README.md has the figures of larger tables.")


if __name__ == "__main__":
    main()
