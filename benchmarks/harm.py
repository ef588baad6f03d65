"""What others wait while pgopt is at work, beside plain SQL: a build of an index, and a short step behind a long transaction.

`python benchmarks/harm.py` prints tables; `--json FILE` writes the same with every single run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import common
import psycopg
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, pool

from pgopt.operations import CreateIndexConcurrently
from pgopt.plan.journal import Journal
from pgopt.plan.online import OnlineRunner
from pgopt.plan.settings import Settings
from pgopt.plan.step import Plan, Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import sql
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

    from sqlalchemy.engine import Connection

    from pgopt.operations import Operation

SPAWN = multiprocessing.get_context("spawn")
APPLICATION = "pgopt bench application"
EACH = 3  # so many writers and so many readers
EVERY = 0.02  # a statement of each is due so often, in seconds
SAMPLE_EVERY = 0.02
SETTLE = 1.0  # what is measured before and after

INDEX = CreateIndexConcurrently("ix_amount", "orders", ["customer", "amount desc"])
RESET = ("drop index if exists ix_amount", "alter table orders drop column if exists added")

Waits = dict[str, list[float]]

READ = "select customer, amount, note from orders where id = %(id)s"
UPDATE = "update orders set amount = amount + 1, changed_at = now() where id = %(id)s"
INSERT = "insert into orders (customer, amount, note) values (%(id)s, 1, 'new')"


# -- the application -----------------------------------------------------------------------------------------------------


def application(address: str, rows: int, ready: Event, stop: Event, results: Queue[Waits | Exception]) -> None:
    """Read and write in threads of a process of its own until told to stop, and give the waits of all statements."""
    try:
        with ThreadPoolExecutor(EACH * 2) as threads:
            working = {
                who: [threads.submit(_work, address, rows, statements, stop) for _ in range(EACH)]
                for who, statements in {"writer": (UPDATE, INSERT), "reader": (READ,)}.items()
            }
            ready.set()
        results.put({who: [wait for each in them for wait in each.result()] for who, them in working.items()})
    except Exception as error:  # noqa: BLE001  -- whatever it was, it is told to who waits for the results
        results.put(RuntimeError(f"the application saw an error: {error}"))


def _work(address: str, rows: int, statements: tuple[str, ...], stop: Event) -> list[float]:
    chance = random.Random(threading.get_ident())
    waits: list[float] = []
    with psycopg.connect(address, autocommit=True, application_name=APPLICATION) as connection:
        due = time.perf_counter() + chance.uniform(0, EVERY)
        while not stop.is_set():
            time.sleep(max(0.0, due - time.perf_counter()))
            statement = statements[len(waits) % len(statements)]
            connection.execute(statement.encode(), {"id": chance.randint(1, max(rows, 1))})
            # from when it was due: users come whether the one before them was answered or not
            waits.append(time.perf_counter() - due)
            due += EVERY
    return waits


@dataclass
class Blocked:
    """How many sessions of the application wait for a lock, summed up over time."""

    seconds: float = 0.0
    most: int = 0

    def sample(self, database: common.Database, stop: threading.Event) -> None:
        """Look again and again until told to stop."""
        query = (
            "select count(*) from pg_stat_activity where application_name = %s and datname = current_database()"
            " and wait_event_type = 'Lock'"
        )
        with database.connect() as connection:
            before = time.perf_counter()
            while not stop.wait(SAMPLE_EVERY):
                row = connection.execute(query, [APPLICATION]).fetchone()
                count, now = (row[0] if row else 0), time.perf_counter()
                self.seconds += count * (now - before)
                self.most = max(self.most, count)
                before = now


def observe(database: common.Database, rows: int, work: Callable[[], bool]) -> dict[str, float]:
    """Do some work beside the application, and measure what the application waited."""
    ready, stop, ended = SPAWN.Event(), SPAWN.Event(), threading.Event()
    results: Queue[Waits | Exception] = SPAWN.Queue()
    process = SPAWN.Process(target=application, args=(database.address, rows, ready, stop, results), daemon=True)
    process.start()
    ready.wait()
    blocked = Blocked()
    sampler = threading.Thread(target=blocked.sample, args=(database, ended), daemon=True)
    sampler.start()
    time.sleep(SETTLE)
    started = time.perf_counter()
    try:
        done = work()
        seconds = time.perf_counter() - started
        time.sleep(SETTLE)
    finally:
        ended.set()
        stop.set()
    sampler.join()
    waits = results.get()
    process.join()
    if isinstance(waits, Exception):
        raise waits
    found = {"seconds": seconds, "done": float(done), "blocked seconds": blocked.seconds, "most blocked": blocked.most}
    for who, values in waits.items():
        found |= {f"{who} longest": max(values), f"{who} p99": p99(values), f"{who} statements": len(values)}
    return found


def p99(values: list[float]) -> float:
    """Give what 99 of 100 did not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


# -- the work ------------------------------------------------------------------------------------------------------------


@contextmanager
def connected(database: common.Database) -> Iterator[Connection]:
    """Connect as an env.py does."""
    engine = create_engine(database.sqlalchemy_url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        yield connection


def by_pgopt(database: common.Database, operation: Operation) -> bool:
    """Carry an operation out as a migration does."""
    with connected(database) as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with context.begin_transaction(_per_migration=True):
            Operations(context).invoke(operation)
    return True


def index_by_sql(database: common.Database, how: str) -> bool:
    """Build the index by hand."""
    database.run(f"create index {how} ix_amount on orders (customer, amount desc)")
    return True


def column_by_pgopt(database: common.Database) -> bool:
    """Add a column as a short step of the runner."""
    step = Step(
        "add the column",
        sql("alter table orders add column added int"),
        locks=[Lock(Mode.ACCESS_EXCLUSIVE, "orders")],
    )
    with connected(database) as connection:
        session = Session(connection)
        with session.autocommit():
            runner = OnlineRunner(session, Settings(), Journal(session, "benchmark", None), lambda _: None)
            runner.run(Plan("add a column", [step]))
    return True


def column_by_sql(database: common.Database, lock_timeout: str) -> bool:
    """Add a column by hand; once, as a migration does."""
    with database.connect(options=f"-c lock_timeout={lock_timeout}") as connection:
        try:
            connection.execute("alter table orders add column added int")
        except psycopg.errors.LockNotAvailable:
            return False
    return True


@contextmanager
def long_transaction(database: common.Database, seconds: float) -> Iterator[None]:
    """Hold a lock that every reader takes, for so long from now."""
    connection = database.connect()
    connection.execute("begin")
    connection.execute("select 1 from orders limit 1")
    timer = threading.Timer(seconds, connection.execute, ["commit"])
    timer.start()
    try:
        yield
    finally:
        timer.join()
        connection.close()


def wait(seconds: float) -> bool:
    """Do nothing."""
    time.sleep(seconds)
    return True


# -- the two benchmarks --------------------------------------------------------------------------------------------------

Ways = dict[str, "Callable[[common.Database], bool]"]


def index_ways(idle: float) -> Ways:
    """Give the ways to build an index."""
    return {
        "nothing": lambda _: wait(idle),
        "CREATE INDEX": lambda database: index_by_sql(database, ""),
        "CREATE INDEX CONCURRENTLY": lambda database: index_by_sql(database, "concurrently"),
        "pgopt": lambda database: by_pgopt(database, INDEX),
    }


def column_ways(idle: float) -> Ways:
    """Give the ways to add a column."""
    return {
        "nothing": lambda _: wait(idle),
        "ALTER TABLE": lambda database: column_by_sql(database, "0"),
        "ALTER TABLE, lock_timeout 2s, once": lambda database: column_by_sql(database, "2s"),
        "pgopt": column_by_pgopt,
    }


def fill(database: common.Database, rows: int) -> None:
    """Make the table that all work on."""
    database.run(
        "create table orders (id bigint generated always as identity primary key, customer bigint not null,"
        " amount bigint not null, note text, changed_at timestamptz not null default now())",
        "insert into orders (customer, amount, note) select g % 10000, hashint8(g), md5(g::text)"
        f" from generate_series(1, {rows}) g",
        "vacuum analyze orders",
    )


def measure(
    database: common.Database,
    rows: int,
    ways: Ways,
    runs: int,
    *,
    reset: Sequence[str] = RESET,
    held: float | None = None,
) -> list[dict[str, Any]]:
    """Measure all ways in turn, each as often as said."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for run in range(runs):
        for name, way in ways.items():
            common.progress(f"run {run + 1} of {runs}: {name}")
            database.run(*reset, "vacuum orders", "checkpoint")
            taken[name].append(observe(database, rows, lambda way=way: _beside(database, way, held)))  # type: ignore[misc]
    common.progress("")
    return [
        {"name": name, "runs": found, **{key: statistics.median(each[key] for each in found) for key in found[0]}}
        for name, found in taken.items()
    ]


def _beside(database: common.Database, way: Callable[[common.Database], bool], held: float | None) -> bool:
    if held is None:
        return way(database)
    with long_transaction(database, held):
        return way(database)


def print_harm(title: str, rows: list[dict[str, Any]]) -> None:
    """Print what the others waited."""
    head = [
        "meanwhile",
        "takes s",
        "writer longest ms",
        "writer p99 ms",
        "reader longest ms",
        "reader p99 ms",
        "blocked-backend-seconds",
    ]
    common.print_table(
        title,
        head,
        [
            [
                row["name"] + ("" if row["done"] == 1 else " (gave up)"),
                f"{row['seconds']:.1f}",
                *(f"{row[f'{who} {what}'] * 1000:,.0f}" for who in ("writer", "reader") for what in ("longest", "p99")),
                f"{row['blocked seconds']:.1f}",
            ]
            for row in rows
        ],
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--held", type=float, default=5.0, help="seconds for which the long transaction holds its lock")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds of the measurement without any work")
    common.add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    said = arguments()
    with common.server() as server, server.database() as database:
        common.progress("filling the table")
        fill(database, said.rows)
        index = measure(database, said.rows, index_ways(said.idle), said.runs)
        column = measure(database, said.rows, column_ways(said.idle), said.runs, held=said.held)
        settings = server.settings()
    beside = f"{EACH} writers and {EACH} readers, a statement of each every {EVERY * 1000:.0f} ms; medians of {said.runs} runs"
    print_harm(f"An index on {said.rows:,} rows ({beside})", index)
    print_harm(f"A column while another transaction reads the table for {said.held:g} s ({beside})", column)
    found = common.surroundings(settings)
    print()
    common.print_surroundings(found)
    result = {"rows": said.rows, "held": said.held, "index": index, "column": column, "surroundings": found}
    common.write_json(said.json, result)


if __name__ == "__main__":
    main()
