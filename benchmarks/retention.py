"""A fifth of a table expires: by one statement, by pgopt's batches, by partitions; alone, and what an application waits meanwhile.

`python benchmarks/retention.py` prints tables; `--json FILE` writes the same with every single run.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import common
import harm
from sqlalchemy.engine import make_url

from pgopt import Monthly
from pgopt.cli import retention
from pgopt.operations import (
    CreateArchiveTable,
    CreateRetentionPolicy,
    FinalizePartitioning,
    InstallPgopt,
    PartitionTable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MONTHS = 10
KEPT = 8
ORDERS = (
    "create table orders (id bigint generated always as identity, customer bigint not null, amount bigint not null, note text,"
    " changed_at timestamptz not null default now(), created_at timestamptz not null default now(), primary key (id, created_at))"
)
FILL = """insert into orders (customer, amount, note, created_at)
    select g % 10000, hashint8(g), md5(g::text), now() - interval '{months} months' * (1 - g / {rows}.0) from generate_series(1, {rows}) g"""
OLD = f"created_at < now() - interval '{KEPT} months'"
COLUMNS = "id, customer, amount, note, changed_at, created_at"
DELETE = f"delete from orders where {OLD}"
COPY = f"insert into orders_archive ({COLUMNS}) select {COLUMNS} from orders where {OLD}"
POLICY = CreateRetentionPolicy("orders", column="created_at", keep=f"{KEPT} months")
TO_ARCHIVE = CreateRetentionPolicy(
    "orders", column="created_at", keep=f"{KEPT} months", action="archive", archive_to="orders_archive"
)
BY_PARTITION = CreateRetentionPolicy("orders", column="created_at", keep=f"{KEPT} months", action="drop_partition")

Way = tuple[str, "Callable[[common.Database], object]"]


# -- the ways ------------------------------------------------------------------------------------------------------------


def at_once(database: common.Database, *statements: str) -> None:
    """All of it in one transaction."""
    database.run("; ".join(statements))


def call(database: common.Database) -> None:
    """The procedure, as a job would call it."""
    database.run("call pgopt.apply_retention()")


def command(database: common.Database) -> None:
    """What the command does."""
    done = retention.apply(make_url(database.sqlalchemy_url), report=lambda _: None)
    assert [each.error for each in done] == [None], done


# how it is prepared, and the way itself
WAYS: dict[str, Way] = {
    "one DELETE": ("plain", lambda database: at_once(database, DELETE)),
    "pgopt, procedure": ("delete", call),
    "pgopt, command": ("delete", command),
    "INSERT and DELETE": ("archive", lambda database: at_once(database, f"begin; {COPY}", f"{DELETE}; commit")),
    "pgopt, archive": ("archive", command),
    "pgopt, partitions": ("partitions", command),
    "pgopt, partitions of a tenth": ("a tenth", command),
}


def limit_of(name: str) -> str:
    """The way beside which another is seen."""
    return "INSERT and DELETE" if "archive" in name or name == "INSERT and DELETE" else "one DELETE"


# -- measuring -----------------------------------------------------------------------------------------------------------


def prepare(database: common.Database, rows: int, how: str) -> None:
    """Fill a table, and make its policy."""
    filled = max(rows // 10, 10) if how == "a tenth" else rows
    database.run(ORDERS, FILL.format(rows=filled, months=MONTHS), "create index on orders (created_at)")
    harm.by_pgopt(database, InstallPgopt(1))
    if how in ("partitions", "a tenth"):
        for operation in (
            PartitionTable("orders", Monthly("created_at")),
            FinalizePartitioning("orders"),
            BY_PARTITION,
        ):
            harm.by_pgopt(database, operation)
    elif how == "archive":
        harm.by_pgopt(database, CreateArchiveTable("orders"))
        harm.by_pgopt(database, TO_ARCHIVE)
    elif how == "delete":
        harm.by_pgopt(database, POLICY)
    database.run("vacuum (freeze, analyze) orders", "checkpoint")


def value(database: common.Database, query: str) -> float:
    """Ask for a number."""
    with database.connect() as connection:
        row = connection.execute(query.encode()).fetchone()
    return float(row[0]) if row else 0.0


def alone(database: common.Database, way: Callable[[common.Database], object]) -> dict[str, float]:
    """Go a way with nobody else at work."""
    written = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
    before, wal, begun = value(database, "select count(*) from orders"), value(database, written), time.perf_counter()
    way(database)
    seconds = time.perf_counter() - begun
    return {
        "seconds": seconds,
        "WAL": value(database, written) - wal,
        "rows": before - value(database, "select count(*) from orders"),
        "dead": value(
            database, "select coalesce(sum(n_dead_tup), 0) from pg_stat_all_tables where relname ~ '^orders'"
        ),
    }


def beside(database: common.Database, rows: int, way: Callable[[common.Database], object]) -> dict[str, float]:
    """Go a way beside the application of `harm.py`."""

    def work() -> bool:
        way(database)
        return True

    return harm.observe(database, rows, work)


def measure(server: common.Server, rows: int, runs: int, idle: float) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Go each way some times, in turn, each time in a database of its own."""
    nothing: Way = ("plain", lambda _: time.sleep(idle))
    found: dict[str, dict[str, list[dict[str, float]]]] = {"alone": {}, "beside": {}}
    for run in range(runs):
        for name, (how, way) in {"nothing": nothing, **WAYS}.items():
            common.progress(f"run {run + 1} of {runs}: {name}")
            with server.database() as database:
                prepare(database, rows, how)
                with server.database(database.name) as copy:
                    found["beside"].setdefault(name, []).append(beside(copy, rows, way))
                if name != "nothing":
                    found["alone"].setdefault(name, []).append(alone(database, way))
    return found


# -- showing -------------------------------------------------------------------------------------------------------------

Measures = dict[str, dict[str, common.Measure]]


def medians(found: dict[str, list[dict[str, float]]]) -> Measures:
    """Put the runs of each way together."""
    return {
        name: {what: common.Measure(what, [run[what] for run in runs]) for what in runs[0]}
        for name, runs in found.items()
    }


def ratio(found: Measures, name: str, to: str) -> str:
    """The median of the ratios of the runs."""
    pairs = zip(found[name]["seconds"].values, found[to]["seconds"].values, strict=True)
    return f"{common.Measure('', [one / other for one, other in pairs]).median:.2f}"


def show(rows: int, measured: dict[str, Measures]) -> None:
    """Print what was measured."""
    found = measured["alone"]
    common.print_table(
        f"a fifth of {rows:,} rows expires, nobody else at work (medians)",
        ("way", "rows", "seconds", "x", "WAL MB", "dead rows"),
        [
            (
                name,
                f"{of['rows'].median:,.0f}",
                f"{of['seconds'].median:.2f}",
                ratio(found, name, limit_of(name)),
                f"{of['WAL'].median / 1e6:,.0f}",
                f"{of['dead'].median:,.0f}",
            )
            for name, of in found.items()
        ],
    )
    common.print_table(
        "beside an application, milliseconds (medians)",
        ("way", "takes s", "writer longest", "writer p99", "reader longest", "reader p99", "blocked s"),
        [
            (
                name,
                f"{of['seconds'].median:.2f}",
                *(
                    f"{of[what].median * 1000:.0f}"
                    for what in ("writer longest", "writer p99", "reader longest", "reader p99")
                ),
                f"{of['blocked seconds'].median:.2f}",
            )
            for name, of in measured["beside"].items()
        ],
    )


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle", type=float, default=5.0, help="how long the application is watched alone, in seconds")
    common.add_json_option(parser)
    options = parser.parse_args()
    with common.server() as server:
        found = measure(server, options.rows, options.runs, options.idle)
        where = common.surroundings(server.settings())
    common.progress("")
    measured = {what: medians(ways) for what, ways in found.items()}
    show(options.rows, measured)
    common.print_surroundings(where)
    result: dict[str, Any] = {
        what: {name: {part: each.as_json() for part, each in of.items()} for name, of in ways.items()}
        for what, ways in measured.items()
    }
    common.write_json(options.json, {"rows": options.rows, **result, "surroundings": where})


if __name__ == "__main__":
    main()
