"""The slow queries of the reference chain's five systems, before and after, beside what their plans claim.

`python benchmarks/headline.py` prints a table; `--json FILE` writes the same with every plan, and `--svg FILE` draws it. `--rows`
says how many rows each system has in all. Before is the schema of the system's first revision, with the indexes that it had;
after is head.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common
import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import chart  # noqa: E402
from clock import Clock  # noqa: E402
from queries import QUERIES, Query, RoundTrips  # noqa: E402
from sqlalchemy import create_engine, pool  # noqa: E402

from tools.data import SYSTEMS, fill  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from alembic.script import Script

    Connection = psycopg.Connection[Any]

LEAST, MOST, SECONDS, QUICK = 3, 200, 1.0, 0.1
# psycopg prepares a statement at its sixth run
BEFOREHAND = 6
COLD = 3
EXPLAINED = 5


@dataclass(frozen=True)
class Seen:
    """What was measured of a query once: milliseconds with all in memory, and with nothing in the server's."""

    warm: float
    server: float | None
    """What the server says that planning and execution took, without the way there and back."""
    cold: float | None
    buffers: int | None
    shape: str
    plan: Any


# -- measuring -----------------------------------------------------------------------------------------------------------


def milliseconds(
    work: Callable[[], object],
    beside: Callable[[], AbstractContextManager[object]],
    *,
    first: Callable[[], object] = int,
) -> float:
    """Say how long it takes, without what goes on beside and what is done first."""
    with beside():
        first()
        begun = time.perf_counter()
        work()
        return (time.perf_counter() - begun) * 1000


def warm(run: Callable[[], float], seconds: float) -> float:
    """Give the median of some runs after some others; of more where they are short."""
    several(run, 1, BEFOREHAND, seconds)
    return statistics.median(several(run, LEAST, MOST, seconds))


def several(run: Callable[[], float], least: int, most: int, seconds: float) -> list[float]:
    """Run it for some seconds, at least and at most so often."""
    until = time.perf_counter() + seconds
    found: list[float] = []
    while len(found) < least or (len(found) < most and time.perf_counter() < until):
        found.append(run())
    return found


def cold(connection: Connection, run: Callable[..., float]) -> float | None:
    """Give the median of runs for which the server has nothing in its memory; the system below may have."""
    row = connection.execute("select to_regprocedure('pg_buffercache_evict_all()')").fetchone()
    if row is None or row[0] is None:
        return None
    return statistics.median(run(first=partial(forget, connection)) for _ in range(COLD))


def forget(connection: Connection) -> None:
    """Have the server forget all pages."""
    connection.execute("checkpoint")
    connection.execute("select pg_buffercache_evict_all()")


def explained(connection: Connection, query: Query, *, after: bool) -> tuple[float | None, int | None, str, Any]:
    """Give the server's milliseconds, the buffers, the shape and the plan of a statement, of the median of some runs."""
    if isinstance(query, RoundTrips):
        return None, None, query.text, None
    statement = b"explain (analyze, buffers, format json) " + query.statement(after=after)
    given = query.given(connection)
    plans = [row[0][0] for _ in range(EXPLAINED) for row in connection.execute(statement, given).fetchall()]
    plan = sorted(plans, key=on_server)[EXPLAINED // 2]
    root = plan["Plan"]
    return on_server(plan), root["Shared Hit Blocks"] + root["Shared Read Blocks"], shape(root), plan


def on_server(plan: dict[str, Any]) -> float:
    """Say how long the server was at work on a statement."""
    return float(plan["Planning Time"] + plan["Execution Time"])


def shape(node: dict[str, Any]) -> str:
    """Tell a plan in a line: its nodes and their indexes from the top, and the first of several alike."""
    name = node["Node Type"]
    if "Index Name" in node:
        name += f" {node['Index Name']}"
    elif name == "Seq Scan":
        name += f" {node['Relation Name']}"
    below = [shape(each) for each in node.get("Plans", []) if "Subplan Name" not in each]
    more = f" x {len(below)}" if len(below) > 1 else ""
    return " < ".join([name, *below[:1]]) + more


def see(connection: Connection, query: Query, *, after: bool, quick: bool) -> Seen:
    """Measure a query; quickly is with all in memory alone, and for a short time."""
    run = partial(milliseconds, query.work(connection, after=after), partial(query.beside, connection))
    server, buffers, how, plan = explained(connection, query, after=after)
    took = warm(run, QUICK if quick else SECONDS)
    return Seen(took, server, None if quick else cold(connection, run), buffers, how, plan)


def measure(
    database: common.Database, systems: Sequence[str], rows: int, clock: Clock, *, quick: bool = False
) -> dict[str, dict[str, dict[str, Seen]]]:
    """Fill each system when its tables are made, measure, go to head, and measure again."""
    found: dict[str, dict[str, dict[str, Seen]]] = {"before": {}, "after": {}}
    for script in stops(quick=quick):
        system, *more = name_of(script)
        with clock.stage(system, "upgrade", f"to {script.revision}: {script.doc}"):
            upgrade(database, script.revision)
        if system in systems and not more:
            with clock.stage(system, "fill"), database.connect() as connection:
                fill(connection, system, rows)
            with clock.stage(system, "before"):
                found["before"][system] = measured(database, system, after=False, quick=quick)
    for system in found["before"]:
        with clock.stage(system, "after"):
            found["after"][system] = measured(database, system, after=True, quick=quick)
    return found


def stops(*, quick: bool) -> Iterator[Script]:
    """Give the revisions to go to: where a system's tables are made, head, and the last of each that are one after the other."""
    scripts = [*ScriptDirectory(str(ROOT / "migrations")).walk_revisions()][::-1]
    for script, following in zip_longest(scripts, scripts[1:]):
        system, *more = name_of(script)
        if not more or following is None or (not quick and name_of(following)[0] != system):
            yield script


def name_of(script: Script) -> list[str]:
    """Give the system that a revision is named for, and what it does there; its first one makes the tables."""
    return Path(script.path).stem.split("_", 2)[1:]


def measured(database: common.Database, system: str, *, after: bool, quick: bool) -> dict[str, Seen]:
    """Measure the queries of a system."""
    with database.connect() as connection:
        if not quick:
            with contextlib.suppress(psycopg.Error):
                # not on every server, and not for everybody
                connection.execute("create extension if not exists pg_buffercache")
        connection.execute(f"vacuum (analyze) {tables(connection, system)}".encode())
        connection.execute("checkpoint")
        found = {}
        for query in (each for each in QUERIES if each.system == system):
            common.progress(f"{system}: {query.name}, {'after' if after else 'before'}")
            found[query.name] = see(connection, query, after=after, quick=quick)
    return found


def tables(connection: Connection, system: str) -> str:
    """List all that has rows of a system."""
    query = "select string_agg(oid::regclass::text, ', ') from pg_class where relnamespace = %s::regnamespace and relkind in ('r', 'p', 'm')"
    row = connection.execute(query, [system]).fetchone()
    return row[0] if row else ""


def upgrade(database: common.Database, revision: str, way: Callable[[Config, str], None] = command.upgrade) -> None:
    """Run `alembic upgrade`, or `alembic downgrade`, in this process."""
    config = Config(str(ROOT / "alembic.ini"), stdout=io.StringIO())
    engine = create_engine(database.sqlalchemy_url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        way(config, revision)


# -- telling -------------------------------------------------------------------------------------------------------------


def ratio(before: Seen, after: Seen) -> float:
    """Say how many times faster it became, for who asked."""
    return before.warm / after.warm


def server_ratio(before: Seen, after: Seen) -> float | None:
    """Say how many times less the server was at work."""
    return before.server / after.server if before.server and after.server else None


def verdict(query: Query, before: Seen, after: Seen) -> str:
    """Say whether what the plan claims holds: for who asked, or else for the server, where most of it is the way there and back."""
    times, took = ratio(before, after), after.warm
    if query.limit is not None and took > query.limit:
        return f"no: {query.limit:g} ms was claimed"
    if query.goal is not None and times < query.goal:
        less = server_ratio(before, after)
        return f"on the server: {query.goal:g}x" if less and less >= query.goal else f"no: {query.goal:g}x was claimed"
    return "yes" if query.goal is not None or query.limit is not None else ""


def number(value: float | None) -> str:
    """Write milliseconds or buffers."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def show(rows: int, found: dict[str, dict[str, dict[str, Seen]]]) -> None:
    """Print a table for each system."""
    for system, before in found["before"].items():
        lines = []
        for query in (each for each in QUERIES if each.system == system):
            old, new = before[query.name], found["after"][system][query.name]
            times = ratio(old, new)
            on = f"{number(old.server)} → {number(new.server)}" if old.server else ""
            told = (number(old.warm), number(new.warm), f"{times:,.1f}", on, number(old.cold), number(new.cold))
            lines.append(
                (query.name, query.claim, *told, old.buffers or "", new.buffers or "", verdict(query, old, new))
            )
        head = (
            "query",
            "claimed",
            "before ms",
            "after ms",
            "x",
            "on the server",
            "cold before",
            "cold after",
            "buffers",
            "after",
            "holds",
        )
        common.print_table(f"{system}, {rows:,} rows in all, medians", head, lines)
        plans = [
            (query.name, found[when][system][query.name].shape, when)
            for query in QUERIES
            if query.system == system and not isinstance(query, RoundTrips)
            for when in ("before", "after")
        ]
        common.print_table(f"{system}, plans", ("query", "plan", "when"), plans)


def bars(found: dict[str, dict[str, dict[str, Seen]]]) -> list[chart.Pair]:
    """Give what is drawn."""
    return [
        chart.Pair(f"{query.system}: {query.name}", before[query.name].warm, after[query.name].warm, query.goal)
        for system, before in found["before"].items()
        for after in [found["after"][system]]
        for query in QUERIES
        if query.system == system
    ]


def result(
    rows: int, found: dict[str, dict[str, dict[str, Seen]]], where: dict[str, Any], clock: Clock
) -> dict[str, Any]:
    """Put all together for JSON."""
    queries = [
        {
            "system": query.system,
            "name": query.name,
            "text": query.text,
            "claim": query.claim,
            "goal": query.goal,
            "ratio": ratio(found["before"][query.system][query.name], found["after"][query.system][query.name]),
            "server ratio": server_ratio(
                found["before"][query.system][query.name], found["after"][query.system][query.name]
            ),
            **{when: asdict(found[when][query.system][query.name]) for when in ("before", "after")},
        }
        for query in QUERIES
        if query.system in found["before"]
    ]
    return {"rows": rows, "queries": queries, "seconds": clock.took, "surroundings": where}


def main() -> None:
    """Measure, print, and write."""
    # env.py leaves logging to a program that has set it up
    logging.getLogger().addHandler(logging.NullHandler())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="of each system, in all of its tables")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--svg", metavar="FILE", help="draw a bar chart to a file")
    common.add_json_option(parser)
    options = parser.parse_args()
    clock = Clock()
    with common.server() as server:
        with server.database() as database:
            found = measure(database, options.systems, options.rows, clock)
        where = common.surroundings(server.settings())
    common.progress("")
    show(options.rows, found)
    clock.show("Seconds that it took")
    common.print_surroundings(where)
    if options.svg:
        Path(options.svg).write_text(chart.draw(bars(found), f"{options.rows:,} rows a system, in memory, medians"))
    common.write_json(options.json, result(options.rows, found, where, clock))


if __name__ == "__main__":
    main()
