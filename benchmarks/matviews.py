"""A materialized view after some of its source's rows have changed: refreshed plainly, concurrently, skipped, and replaced.

`python benchmarks/matviews.py` prints tables; `--json FILE` writes the same with every single run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import common
import harm
import psycopg
import ranking

from pgopt.operations import CreateMaterializedView, InstallPgopt, ReplaceMaterializedView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

# a reader that imported everything anew would take longer than what is measured
FORK = multiprocessing.get_context("fork")
EVERY = 0.005  # a read of the view is due so often, in seconds
SHARES = (0.0, 0.001, 0.01, 0.1)
QUERY = "select customer, count(*) as number, sum(amount) as amount from sales group by customer"
# plainly, since the other way takes ten times as long
AFRESH = "select pgopt.refresh('per_customer', concurrently => false, force => true)"
# each means the same as the other, and each replaces the other
QUERIES = (QUERY, f"{QUERY} having count(*) > 0")

# -- readers -------------------------------------------------------------------------------------------------------------


def read(address: str, customers: int, ready: Event, stop: Event, results: Queue[Any]) -> None:
    """Read the view again and again, in a process of its own, and give the waits."""
    waits: list[float] = []
    try:
        with psycopg.connect(address, autocommit=True, application_name=harm.APPLICATION) as connection:
            ready.set()
            due = time.perf_counter()
            while not stop.is_set():
                time.sleep(max(0.0, due - time.perf_counter()))
                connection.execute("select * from per_customer where customer = %s", [len(waits) % customers])
                waits.append(time.perf_counter() - due)
                due += EVERY
        results.put(waits)
    except Exception as error:  # noqa: BLE001  -- whatever it was, it is told to who waits for the results
        results.put(RuntimeError(f"the reader saw an error: {error}"))
        ready.set()


def measured(database: common.Database, customers: int, work: Callable[[], object]) -> dict[str, float]:
    """Do some work beside a reader: how long it took, how much log it wrote, how long the reader waited at most, and for locks."""
    ready, stop, results = FORK.Event(), FORK.Event(), FORK.Queue()
    blocked, ended = harm.Blocked(), threading.Event()
    process = FORK.Process(target=read, args=(database.address, customers, ready, stop, results), daemon=True)
    process.start()
    ready.wait()
    sampler = threading.Thread(target=blocked.sample, args=(database, ended), daemon=True)
    sampler.start()
    with database.connect() as connection:
        before = value(connection, "select pg_current_wal_insert_lsn()")
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        wal = value(connection, f"select pg_current_wal_insert_lsn() - '{before}'")
    ended.set()
    sampler.join()
    stop.set()
    waits = results.get()
    process.join()
    if not isinstance(waits, list):
        raise waits
    return {
        "seconds": seconds,
        "wal": float(wal),
        "longest": max(waits),
        "p99": harm.p99(waits),
        "blocked": blocked.seconds,
    }


def value(connection: psycopg.Connection[Any], query: str) -> Any:
    """Give the first value of a query."""
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


# -- refreshing ----------------------------------------------------------------------------------------------------------


def fill(database: common.Database, rows: int) -> None:
    """Make the source, and the view, whose changes are noted."""
    database.run(
        "create table sales (id bigint primary key, customer int not null, amount int not null)",
        f"insert into sales select g, g % {customers_of(rows)}, g % 1000 from generate_series(1, {rows}) g",
        "vacuum analyze sales",
    )
    harm.by_pgopt(database, InstallPgopt(1))
    view = CreateMaterializedView("per_customer", QUERIES[0], unique=["customer"], depends_on=["sales"])
    harm.by_pgopt(database, view)


def customers_of(rows: int) -> int:
    """How many rows the view has."""
    return max(rows // 5, 1)


def change(database: common.Database, rows: int, share: float) -> None:
    """Change a share of the rows, all over the table, each of another customer as far as that goes."""
    if changed := int(rows * share):
        every = max(rows // changed, 1)
        database.run(f"update sales set amount = amount + 1 where id % {every} = 0", "vacuum sales")
    database.run("checkpoint")


def replace(database: common.Database) -> None:
    """Give the view the other query."""
    with database.connect() as connection:
        definition = str(value(connection, "select pg_get_viewdef('per_customer'::regclass)"))
    harm.by_pgopt(database, ReplaceMaterializedView("per_customer", QUERIES["having" not in definition.lower()]))


def beside(database: common.Database) -> None:
    """Make as much of the same rows without touching the view: what readers feel of that is the machine's."""
    database.run(f"create table beside as {QUERY}", "create unique index on beside (customer)", "drop table beside")


Ways = dict[str, "Callable[[common.Database], object]"]

WAYS: Ways = {
    "CREATE TABLE AS": beside,
    "REFRESH": lambda database: database.run("refresh materialized view per_customer"),
    "REFRESH CONCURRENTLY": lambda database: database.run("refresh materialized view concurrently per_customer"),
    "pgopt.refresh": lambda database: database.run("select pgopt.refresh('per_customer')"),
    "replace_materialized_view": replace,
}


def refreshes(
    database: common.Database, rows: int, shares: Sequence[float], ways: Ways, runs: int
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Measure all ways after each share of changes; the ways take turns."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for share in shares:
        of_share: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in ways}
        for run in range(runs):
            for name, work in ways.items():
                common.progress(f"{share:.1%} changed, run {run + 1}: {name}")
                # what the way before has left undone
                database.run(AFRESH, "vacuum analyze per_customer")
                change(database, rows, share)
                for what, number in measured(database, customers_of(rows), lambda work=work: work(database)).items():  # type: ignore[misc]
                    of_share[name][what].append(number)
        found[f"{share:.1%}"] = of_share
    return found


def print_refreshes(rows: int, runs: int, found: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    """Print what was measured."""
    table = []
    for share, ways in found.items():
        for name, of in ways.items():
            median = {what: common.Measure(what, values).median for what, values in of.items()}
            ratio = common.Measure(
                name, [one / other for one, other in zip(of["seconds"], ways["REFRESH"]["seconds"], strict=True)]
            ).median
            takes = ("", "") if name == "nothing" else (f"{median['seconds'] * 1000:,.0f} ms", f"{ratio:.2f}")
            cells = (*takes, f"{median['wal'] / 1e6:,.1f} MB")
            felt = (median["blocked"], median["p99"], median["longest"], max(of["longest"]))
            waits = (f"{each * 1000:,.0f} ms" for each in felt)
            table.append((name, share, *cells, *waits))
    head = (
        "",
        "changed",
        "takes",
        "of REFRESH",
        "WAL",
        "reader waits for locks",
        "its p99",
        "longest wait",
        "the worst of all runs",
    )
    common.print_table(f"A view of {customers_of(rows):,} rows over {rows:,} (medians of {runs} runs)", head, table)


# -- both ---------------------------------------------------------------------------------------------------------------


def leaderboard(server: common.Server, users: int, runs: int) -> dict[str, ranking.Found]:
    """Measure the ranking of so many users in a database of its own."""
    with server.database() as database:
        return ranking.measure(database, users, runs)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES, help="of the rows that change, 0.01 is 1 %%")
    parser.add_argument(
        "--users", type=int, nargs="*", default=(200_000, 1_000_000), help="of the ranking; none leaves it out"
    )
    parser.add_argument(
        "--ways", nargs="*", default=WAYS, choices=WAYS, help="REFRESH is always measured, beside nothing"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle", type=float, default=3.0, help="seconds of the measurement without any work")
    common.add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    said = arguments()
    wanted = {name: way for name, way in WAYS.items() if name in (*said.ways, "REFRESH")}
    ways = {"nothing": lambda _: time.sleep(said.idle), **wanted}
    with common.server() as server:
        with server.database() as database:
            common.progress("filling the table")
            fill(database, said.rows)
            found = refreshes(database, said.rows, said.shares, ways, said.runs)
        rankings = {users: leaderboard(server, users, said.runs) for users in said.users}
        settings = server.settings()
    print_refreshes(said.rows, said.runs, found)
    for users, of in rankings.items():
        ranking.print_tables(users, of)
    surroundings = common.surroundings(settings)
    print()
    common.print_surroundings(surroundings)
    result = {"rows": said.rows, "refreshes": found, "leaderboard": rankings, "surroundings": surroundings}
    common.write_json(said.json, result)


if __name__ == "__main__":
    main()
