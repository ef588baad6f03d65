"""A table that becomes partitioned: pgopt beside the textbook way and beside the least the server can do, under load, and what it brought.

`python benchmarks/partition.py` prints tables; `--json FILE` writes the same with every single run. `--rows` says how many
rows the table has, `--runs` how often each way is gone, and `--only` which parts are measured.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import bought
import common
import harm
from alembic.migration import MigrationContext
from alembic.operations import Operations

from pgopt import IntRange, Monthly
from pgopt.operations import FinalizePartitioning, InstallPgopt, Operation, PartitionTable
from pgopt.plan.events import Event, StepFinished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

MONTHS = 24
BATCH = 10_000

# what the reference chain's help desk writes of everybody, with a number as its key
TABLE = """
create table audit_logs (
    id bigint not null, action text not null, entity_type text not null, user_id int, metadata jsonb,
    created_at timestamptz not null, primary key (id, created_at)
)
"""
FILL = """
insert into audit_logs
    select g, 'action ' || g % 40, 'ticket', g % 5000, jsonb_build_object('ip', md5(g::text), 'n', g % 97),
           date_trunc('month', now()) - interval '{months} months' + g * interval '{months} months' / {rows}
    from generate_series(1, {rows}) g
"""
INDEXES = (
    "create index {name}_user on {name} (user_id, created_at desc)",
    "create index {name}_created on {name} (created_at)",
)
COPY = PartitionTable("audit_logs", Monthly("created_at"))
ATTACH = PartitionTable("audit_logs", Monthly("created_at"), method="attach")
# for the application of benchmarks/harm.py, which reads and writes `orders` by id
ORDERS = """
create table orders (id bigint generated always as identity primary key, customer int not null, amount int not null,
                     note text, changed_at timestamptz not null default now())
"""

DROP_KEY = "alter table audit_logs drop constraint audit_logs_pkey"
ADD_KEY = "alter table audit_logs add primary key ({})"
PARTS = ("copy", "attach", "load", "bought")

Seconds = dict[str, float]
Found = dict[str, list[Seconds]]
Measured = dict[str, dict[str, dict[str, common.Measure]]]


# -- the ways ------------------------------------------------------------------------------------------------------------


def partitions(connection: psycopg.Connection[Any], name: str) -> None:
    """Make the partitioned table by hand, without indexes."""
    connection.execute(
        f"create table {name} (like audit_logs including defaults) partition by range (created_at)".encode()
    )
    connection.execute(
        f"""do $$ declare month timestamptz := date_trunc('month', now()) - interval '{MONTHS} months'; begin
            for n in 0 .. {MONTHS + 4} loop
                execute format('create table {name}_%s partition of {name} for values from (%L) to (%L)', n,
                    month + n * interval '1 month', month + (n + 1) * interval '1 month');
            end loop; end $$""".encode()
    )


def index(connection: psycopg.Connection[Any], name: str) -> None:
    """Give it the keys and indexes of the table."""
    connection.execute(f"alter table {name} add primary key (id, created_at)".encode())
    for statement in INDEXES:
        connection.execute(statement.format(name=name).encode())


def by_limit(database: common.Database) -> Seconds:
    """The least that the server can do, with nobody else at work: one INSERT ... SELECT, then the indexes."""
    with database.connect() as connection:
        partitions(connection, "limit_logs")
        begun = time.perf_counter()
        connection.execute("insert into limit_logs select * from audit_logs")
        filled = time.perf_counter()
        index(connection, "limit_logs")
        done = time.perf_counter()
        connection.execute("drop table limit_logs")
    return {"fill": filled - begun, "indexes": done - filled, "fill and indexes": done - begun}


def by_textbook(database: common.Database) -> Seconds:
    """Batches in key order into a table with all its indexes, kept up by a row trigger."""
    with database.connect() as connection:
        partitions(connection, "book_logs")
        index(connection, "book_logs")
        connection.execute(
            """create function mirror() returns trigger language plpgsql as $$ begin
                   insert into book_logs select new.* on conflict do nothing; return null; end $$"""
        )
        connection.execute("create trigger mirror after insert on audit_logs for each row execute function mirror()")
        begun = time.perf_counter()
        last: int | None = 0
        while last is not None:
            row = connection.execute(
                f"""with batch as materialized (select * from audit_logs where id > %s order by id limit {BATCH}),
                    done as (insert into book_logs select * from batch on conflict do nothing)
                    select max(id) from batch""".encode(),
                [last],
            ).fetchone()
            last = row[0] if row else None
        done = time.perf_counter()
        connection.execute("drop table book_logs cascade")
        connection.execute("drop function mirror() cascade")
    return {"fill and indexes": done - begun}


def carry_out(database: common.Database, operation: Operation) -> list[Event]:
    """Carry an operation out as a migration does, and give what it told."""
    told: list[Event] = []
    with harm.connected(database) as connection:
        context = MigrationContext.configure(
            connection, opts={"transaction_per_migration": True, "pgopt_report": told.append}
        )
        with context.begin_transaction(_per_migration=True):
            Operations(context).invoke(operation)
    return told


OF_STEPS = {
    "copy ": "fill",
    "take rows that moved": "fill",
    "build ": "indexes",
    "compare ": "verify",
    "replay ": "replay",
    "analyze ": "analyze",
    "swap ": "swap",
    "attach ": "swap",
    "check the rows": "validate",
}


def by_pgopt(database: common.Database, operation: PartitionTable) -> Seconds:
    """The operation, by what its steps took."""
    begun = time.perf_counter()
    told = carry_out(database, operation)
    found: defaultdict[str, float] = defaultdict(float)
    found["all"] = time.perf_counter() - begun
    for event in told:
        if isinstance(event, StepFinished):
            part = next((part for start, part in OF_STEPS.items() if event.label.startswith(start)), "other")
            found[part] += event.seconds
    found["fill and indexes"] = found["fill"] + found["indexes"]
    carry_out(database, operation.reverse())
    return dict(found)


def key_by_hand(database: common.Database) -> Seconds:
    """What an attachment must do at least: check the bound, and build the key that has the column."""
    with database.connect() as connection:
        begun = time.perf_counter()
        connection.execute("alter table audit_logs add constraint bound check (created_at < '2100-01-01') not valid")
        connection.execute("alter table audit_logs validate constraint bound")
        connection.execute("create unique index concurrently by_hand on audit_logs (id, created_at)")
        done = time.perf_counter()
        connection.execute("alter table audit_logs drop constraint bound")
        connection.execute("drop index by_hand")
    return {"all": done - begun}


# -- measuring -----------------------------------------------------------------------------------------------------------


def prepare(database: common.Database, rows: int) -> None:
    """Fill the table."""
    database.run(TABLE, FILL.format(rows=rows, months=MONTHS), *(each.format(name="audit_logs") for each in INDEXES))
    carry_out(database, InstallPgopt(1))
    database.run("vacuum (freeze, analyze) audit_logs", "checkpoint")


def alone(database: common.Database, runs: int) -> Found:
    """Go each way some times, in turn, with nobody else at work."""
    ways: dict[str, Callable[[common.Database], Seconds]] = {
        "limit": by_limit,
        "textbook": by_textbook,
        "pgopt": lambda database: by_pgopt(database, COPY),
    }
    found: Found = {name: [] for name in ways}
    for run in range(runs):
        for name, way in ways.items():
            common.progress(f"run {run + 1} of {runs}: {name}")
            database.run("checkpoint")
            found[name].append(way(database))
    return found


def attached(database: common.Database, runs: int) -> Found:
    """Attach the table when its key lacks the column, beside what that must do at least."""
    found: Found = {"key by hand": [], "pgopt": []}
    widened = PartitionTable("audit_logs", Monthly("created_at"), method="attach", widen_keys=True)
    database.run(DROP_KEY, ADD_KEY.format("id"))
    for run in range(runs):
        common.progress(f"run {run + 1} of {runs}: attach")
        database.run("checkpoint")
        found["key by hand"].append(key_by_hand(database))
        database.run("checkpoint")
        found["pgopt"].append(by_pgopt(database, widened))
    database.run(DROP_KEY, ADD_KEY.format("id, created_at"))
    return found


def under_load(server: common.Server, rows: int, runs: int, idle: float) -> Found:
    """Convert beside an application, and beside that the same application alone."""
    found: Found = {"nothing": [], "pgopt": []}
    with server.database() as database:
        database.run(
            ORDERS,
            f"insert into orders (customer, amount, note) select g % 1000, g, 'note ' || g from generate_series(1, {rows}) g",
        )
        carry_out(database, InstallPgopt(1))
        database.run("vacuum (freeze, analyze) orders", "checkpoint")
        operation = PartitionTable("orders", IntRange("id", step=max(rows // 12, 1)))
        for run in range(runs):
            common.progress(f"run {run + 1} of {runs}: under load")

            def work(operation: Operation = operation) -> bool:
                carry_out(database, operation)
                return True

            found["nothing"].append(harm.observe(database, rows, lambda: time.sleep(idle) is None))
            found["pgopt"].append(harm.observe(database, rows, work))
            carry_out(database, FinalizePartitioning("orders"))
            carry_out(database, operation.reverse())
    return found


def medians(found: list[dict[str, float]]) -> dict[str, common.Measure]:
    """Put the runs of one way together."""
    names = dict.fromkeys(name for each in found for name in each)
    return {name: common.Measure(name, [each.get(name, 0.0) for each in found]) for name in names}


def show(rows: int, measured: Measured) -> None:
    """Print what was measured."""
    if "copy" in measured:
        show_copy(rows, measured["copy"])
    if "attach" in measured:
        show_attach(measured["attach"])
    if "load" in measured:
        show_load(measured["load"])
    if "retention" in measured:
        bought.show(measured)


def show_copy(rows: int, copies: dict[str, dict[str, common.Measure]]) -> None:
    """Print how long the ways take that copy."""
    limit = copies["limit"]["fill and indexes"].median
    parts = ("fill", "indexes", "fill and indexes", "analyze", "replay", "verify", "swap", "all")
    common.print_table(
        f"{rows:,} rows to {MONTHS} months, seconds (medians), nobody else at work",
        ("way", *parts, "rows/s", "x limit"),
        [
            (
                name,
                *(f"{found[part].median:.2f}" if part in found else "" for part in parts),
                f"{rows / found['fill and indexes'].median:,.0f}",
                f"{found['fill and indexes'].median / limit:.2f}",
            )
            for name, found in copies.items()
        ],
    )


def show_attach(attach: dict[str, dict[str, common.Measure]]) -> None:
    """Print how long an attachment takes."""
    by_hand = attach["key by hand"]["all"].values
    common.print_table(
        "attached with a key that gains the column, seconds (medians)",
        ("way", "all", "x"),
        [
            (
                name,
                f"{found['all'].median:.2f}",
                f"{statistics.median(one / other for one, other in zip(found['all'].values, by_hand, strict=True)):.2f}",
            )
            for name, found in attach.items()
        ],
    )


def show_load(load: dict[str, dict[str, common.Measure]]) -> None:
    """Print what an application waits."""
    waits = ("writer longest", "writer p99", "reader longest", "reader p99")
    common.print_table(
        "beside an application, milliseconds (medians)",
        ("what", *waits, "blocked s"),
        [
            (name, *(f"{found[what].median * 1000:.0f}" for what in waits), f"{found['blocked seconds'].median:.2f}")
            for name, found in load.items()
        ],
    )


def measure(server: common.Server, rows: int, runs: int, idle: float, parts: Sequence[str]) -> Measured:
    """Measure some parts; those of one table on the same rows, the last of which are gone at the end."""
    found: dict[str, Found] = {}
    with server.database() as database:
        if set(parts) - {"load"}:
            prepare(database, rows)
        if "copy" in parts:
            found["copy"] = alone(database, runs)
        if "attach" in parts:
            found["attach"] = attached(database, runs)
        if "bought" in parts:
            found |= bought.bought(database, MONTHS, runs)
    if "load" in parts:
        found["load"] = under_load(server, rows, runs, idle)
    return {what: {name: medians(each) for name, each in ways.items()} for what, ways in found.items()}


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle", type=float, default=5.0, help="how long the application is watched alone, in seconds")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts alone")
    common.add_json_option(parser)
    options = parser.parse_args()
    with common.server() as server:
        measured = measure(server, options.rows, options.runs, options.idle, options.only)
        where = common.surroundings(server.settings())
    common.progress("")
    show(options.rows, measured)
    common.print_surroundings(where)
    result = {
        what: {name: {part: each.as_json() for part, each in found.items()} for name, found in ways.items()}
        for what, ways in measured.items()
    }
    common.write_json(options.json, {"rows": options.rows, **result, "surroundings": where})


if __name__ == "__main__":
    main()
