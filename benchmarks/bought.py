"""What it brings that a table is partitioned: a month that expires, and a query of the last week, before and after, on the same rows."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import common
import harm

from pgopt import Monthly
from pgopt.operations import FinalizePartitioning, ManagePartitions, PartitionTable

if TYPE_CHECKING:
    from collections.abc import Callable

    Found = dict[str, list[dict[str, float]]]

BATCH = 10_000
WARM, TIMES = 6, 30
# of the data, which end where this month begins
LAST_WEEK = """
select action, count(*) from audit_logs
where created_at >= date_trunc('month', now()) - interval '7 days' and created_at < date_trunc('month', now()) group by action
"""
BEFORE = "created_at < date_trunc('month', now()) - interval '{months} months'"
ROWS = "select count(*) from audit_logs"
SIZE = "select sum(pg_total_relation_size(oid)) from pg_class where relname ~ '^audit_logs' and relkind in ('r', 'p')"
WAL = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


# -- a month that expires ------------------------------------------------------------------------------------------------


def at_once(database: common.Database, months: int) -> None:
    """Delete what is older by one statement."""
    database.run(f"delete from audit_logs where {BEFORE.format(months=months)}")


def in_batches(database: common.Database, months: int) -> None:
    """Delete it as people do, so many rows at a time."""
    some = f"select ctid from audit_logs where {BEFORE.format(months=months)} limit {BATCH}"
    statement = f"delete from audit_logs where ctid = any(array({some}))"
    with database.connect() as connection:
        while connection.execute(statement.encode()).rowcount:
            pass


def maintained(database: common.Database, _: int) -> None:
    """Let pgopt detach and drop the partition, as its rule says."""
    database.run("call pgopt.maintain('audit_logs')")


def expired(database: common.Database, way: Callable[[common.Database, int], None], months: int) -> dict[str, float]:
    """Let a month expire, then clean up, so that others can use the space."""
    rows, size, wal = (_value(database, query) for query in (ROWS, SIZE, WAL))
    begun = time.perf_counter()
    way(database, months)
    done = time.perf_counter()
    database.run("vacuum audit_logs")
    cleaned = time.perf_counter()
    return {
        "seconds": done - begun,
        "vacuum": cleaned - done,
        "WAL": _value(database, WAL) - wal,
        "rows": rows - _value(database, ROWS),
        "freed": size - _value(database, SIZE),
    }


def _value(database: common.Database, query: str) -> float:
    with database.connect() as connection:
        row = connection.execute(query.encode()).fetchone()
    return float(row[0]) if row else 0.0


# -- the last week -------------------------------------------------------------------------------------------------------


def last_week(database: common.Database) -> dict[str, float]:
    """Ask for it with all in memory, prepared as an application's driver does, and see what the server says."""
    with database.connect() as connection:
        for _ in range(WARM):
            connection.execute(LAST_WEEK.encode()).fetchall()
        seconds = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            connection.execute(LAST_WEEK.encode()).fetchall()
            seconds.append(time.perf_counter() - begun)
        rows = connection.execute(f"explain (analyze, buffers, format json) {LAST_WEEK}".encode()).fetchall()
    plan = rows[0][0][0]
    root = plan["Plan"]
    return {
        "seconds": statistics.median(seconds),
        "planning": plan["Planning Time"] / 1000,
        "execution": plan["Execution Time"] / 1000,
        "buffers": root["Shared Hit Blocks"] + root["Shared Read Blocks"],
    }


# -- both ----------------------------------------------------------------------------------------------------------------


def bought(database: common.Database, months: int, runs: int) -> dict[str, Found]:
    """Let months expire and ask for the last week, of the plain table and then of the partitioned one."""
    runs = min(runs, months // 4)
    left = iter(range(months - 1, 0, -1))
    query: Found = {"before": [last_week(database) for _ in range(runs)]}
    retention: Found = {"one DELETE": [], f"DELETE of {BATCH:,} rows at a time": [], "pgopt, partitions": []}
    for run in range(runs):
        for name, way in zip(list(retention)[:2], (at_once, in_batches), strict=True):
            common.progress(f"run {run + 1} of {runs}: {name}")
            retention[name].append(expired(database, way, next(left)))
    for operation in (PartitionTable("audit_logs", Monthly("created_at")), FinalizePartitioning("audit_logs")):
        harm.by_pgopt(database, operation)
    database.run("vacuum (freeze, analyze) audit_logs", "checkpoint")
    query["after"] = [last_week(database) for _ in range(runs)]
    for _ in range(runs):
        month = next(left)
        harm.by_pgopt(database, ManagePartitions("audit_logs", keep=f"{month} months", on_expiry="drop"))
        retention["pgopt, partitions"].append(expired(database, maintained, month))
    return {"retention": retention, "last week": query}


def show(measured: dict[str, dict[str, Any]]) -> None:
    """Print it."""
    common.print_table(
        "a month that expires (medians)",
        ("way", "rows", "seconds", "VACUUM s", "WAL MB", "given back MB"),
        [
            (
                name,
                f"{found['rows'].median:,.0f}",
                *(f"{found[what].median:.2f}" for what in ("seconds", "vacuum")),
                *(f"{found[what].median / 1e6:,.1f}" for what in ("WAL", "freed")),
            )
            for name, found in measured["retention"].items()
        ],
    )
    common.print_table(
        "the last week by action, milliseconds (medians, warm)",
        ("when", "takes", "planning", "execution", "buffers"),
        [
            (
                name,
                *(f"{found[what].median * 1000:.2f}" for what in ("seconds", "planning", "execution")),
                f"{found['buffers'].median:,.0f}",
            )
            for name, found in measured["last week"].items()
        ],
    )
