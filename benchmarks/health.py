"""How long `pgopt health` takes on a large database, and a snapshot of it: 1,000 tables with 5,000 indexes.

`python benchmarks/health.py` prints a table; `--json FILE` writes the same with every single run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import common
from sqlalchemy import create_engine, pool
from sqlalchemy.engine import make_url

from pgopt.cli import health
from pgopt.monitoring import BY_NAME
from pgopt.monitoring.checks import CHECKS, look, reading, rows_of
from pgopt.monitoring.report import gather
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GOAL = 2.0

# five indexes a table: the key and four more, each of its own columns
TABLE = """
create table {name} (id int primary key, a int, b text, c timestamptz, d int, e numeric);
create index on {name} (a); create index on {name} (b, a); create index on {name} (c desc) where d > 0; create index on {name} (lower(b));
insert into {name} select n, n, md5(n::text), now(), n % 7, n from generate_series(1, {rows}) n;
"""


def fill(database: common.Database, tables: int, rows: int) -> None:
    """Make the tables, a hundred in a transaction, since each takes many locks."""
    for first in range(0, tables, 100):
        numbers = range(first, min(first + 100, tables))
        database.run("".join(TABLE.format(name=f"table_{number:04}", rows=rows) for number in numbers))
        common.progress(f"{first} tables")
    database.run("vacuum analyze")


def installed(database: common.Database) -> None:
    """Install what snapshots need."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    from pgopt.operations import InstallMonitoring, InstallPgopt

    with create_engine(database.sqlalchemy_url, poolclass=pool.NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        for each in (InstallPgopt(1), InstallMonitoring()):
            with context.begin_transaction(_per_migration=True):
                Operations(context).invoke(each)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ways(database: common.Database, session: Session) -> dict[str, Callable[[], object]]:
    """What is measured: all of it, what people type, and the least, which is one look at each size."""
    url = make_url(database.sqlalchemy_url)
    typed = [sys.executable, "-m", "pgopt.cli.main", "health", "--json", "--url", database.sqlalchemy_url]

    def page() -> str:
        with reading(session):
            return gather(session).page()

    def checks() -> object:
        with reading(session):
            return look(session)

    return {
        "all sizes, by one query": lambda: session.rows("select oid, pg_total_relation_size(oid) from pg_class"),
        "the checks": checks,
        "the page": page,
        "pgopt health, without its start": lambda: health.run(url),
        "pgopt health": lambda: subprocess.run(typed, check=False, capture_output=True),
        "a snapshot": lambda: session.rows("select pgopt.take_snapshot()"),
    }


def of_each_check(session: Session, runs: int) -> list[common.Measure]:
    """Measure the query of each check."""
    found = []
    with reading(session):
        for name in CHECKS:
            if name in BY_NAME:
                values = [timed(lambda name=name: rows_of(session, name, [])) for _ in range(runs)]  # type: ignore[misc]
                found.append(common.Measure(name, values))
    return sorted(found, key=lambda measure: -measure.median)


def print_measures(title: str, head: str, measured: Sequence[common.Measure]) -> None:
    rows = [
        [each.name, *(f"{value:.3f}" for value in (each.median, min(each.values), max(each.values)))]
        for each in measured
    ]
    common.print_table(title, [head, "median s", "least s", "most s"], rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=200, help="rows of each table")
    parser.add_argument("--runs", type=int, default=5)
    common.add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    said = arguments()
    result: dict[str, Any] = {"tables": said.tables, "indexes": said.tables * 5, "goal": GOAL}
    with common.server() as server, server.database() as database:
        fill(database, said.tables, said.rows)
        installed(database)
        engine = create_engine(database.sqlalchemy_url, poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            session = Session(connection)
            measured: dict[str, list[float]] = {name: [] for name in ways(database, session)}
            for _ in range(said.runs):
                for name, work in ways(database, session).items():
                    measured[name].append(timed(work))
            whole = [common.Measure(name, values) for name, values in measured.items()]
            each = of_each_check(session, said.runs)
        result["ways"] = [measure.as_json() for measure in whole]
        result["checks"] = [measure.as_json() for measure in each]
        result["surroundings"] = common.surroundings(server.settings())
    title = (
        f"{said.tables:,} tables, {said.tables * 5:,} indexes, {said.runs} runs (goal: pgopt health below {GOAL:g} s)"
    )
    print_measures(title, "what", whole)
    print_measures("The query of each check", "check", each)
    print()
    common.print_surroundings(result["surroundings"])
    common.write_json(said.json, result)


if __name__ == "__main__":
    main()
