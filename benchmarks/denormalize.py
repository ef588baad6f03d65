"""What it costs a statement to keep a counter, or copied columns: by pgopt, also deferred, by the usual row-level trigger, and without any.

`python benchmarks/denormalize.py` prints tables; `--json FILE` writes the same with every single run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import common
import harm

from pgopt.operations import DenormalizeAggregate, DenormalizeColumns, InstallPgopt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

    from pgopt.operations import Operation

TABLES = """
create table tickets (id int primary key, title text, comment_count bigint not null default 0, last_comment_at timestamptz);
create table comments (id bigint generated always as identity primary key, ticket_id int not null references tickets,
                       body text, created_at timestamptz not null default now());
create index on comments (ticket_id, created_at);
insert into tickets select g, 'ticket ' || g from generate_series(1, {groups}) g;
create table users (id int primary key, name text, country text, ghost boolean);
create table profiles (user_id int primary key references users, country text, ghost boolean);
insert into users select g, 'user ' || g from generate_series(1, {rows}) g;
insert into profiles select g, 'DE', false from generate_series(1, {rows}) g;
"""
BY_ROW = """
create function count_comment() returns trigger language plpgsql as $$ begin
    update tickets set comment_count = comment_count + 1, last_comment_at = greatest(last_comment_at, new.created_at) where id = new.ticket_id;
    return null;
end $$;
create trigger count_comment after insert on comments for each row execute function count_comment();
create function copy_profile() returns trigger language plpgsql as $$ begin
    update users set country = new.country, ghost = new.ghost where id = new.user_id;
    return null;
end $$;
create trigger copy_profile after insert or update on profiles for each row execute function copy_profile();
"""
FOR_PGOPT = (
    "alter table tickets drop column comment_count, drop column last_comment_at",
    "alter table users drop column country, drop column ghost",
)
BY_PGOPT = (
    InstallPgopt(1),
    DenormalizeAggregate(
        "tickets",
        source="comments",
        on={"id": "ticket_id"},
        columns={"comment_count": "count(*)", "last_comment_at": "max(created_at)"},
    ),
    DenormalizeColumns(
        "users", source="profiles", on={"id": "user_id"}, columns={"country": "country", "ghost": "ghost"}
    ),
)

DEFERRED = tuple(
    operation if isinstance(operation, InstallPgopt) else replace(operation, deferred="every 1 hour")
    for operation in BY_PGOPT
)

# how many rows a statement has, of which number, and where it begins
WORK = {
    "counter": "insert into comments (ticket_id, body) select 1 + (%(start)s + g) %% %(groups)s, 'b' from generate_series(1, %(rows)s) g",
    "columns": "update profiles set country = 'c' || %(start)s where user_id between 1 + %(start)s %% (%(all)s - %(rows)s + 1)"
    " and %(start)s %% (%(all)s - %(rows)s + 1) + %(rows)s",
}


def by_row(database: common.Database) -> None:
    database.run(BY_ROW)


def by_pgopt(database: common.Database, operations: Sequence[Operation] = BY_PGOPT) -> None:
    database.run(*FOR_PGOPT)
    for operation in operations:
        assert harm.by_pgopt(database, operation)


WAYS: dict[str, Callable[[common.Database], object]] = {
    "no trigger": lambda _: None,
    "row-level trigger": by_row,
    "pgopt": by_pgopt,
    "pgopt, deferred": partial(by_pgopt, operations=DEFERRED),
}


class Measured(NamedTuple):
    """What a statement costs."""

    milliseconds: float
    wal: float
    """Bytes."""
    fold: float
    """Microseconds for each row that it has changed, later."""


def measure(
    connection: psycopg.Connection[Any], statement: str, rows: int, repeat: int, said: argparse.Namespace
) -> Measured:
    """Measure a statement some times, and fold in what it has left for later."""
    values = {"rows": rows, "groups": said.groups, "all": said.rows}
    first = connection.execute("select pg_current_wal_insert_lsn()").fetchall()[0][0]
    times = []
    for turn in range(repeat):
        begun = time.perf_counter()
        connection.execute(statement.encode(), {**values, "start": turn * 7919})
        times.append((time.perf_counter() - begun) * 1000)
    query = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)::float8"
    wal = connection.execute(query, [first]).fetchall()[0][0]
    begun = time.perf_counter()
    if connection.execute("select to_regprocedure('pgopt.waiting(text)') is not null").fetchall()[0][0]:
        connection.execute("call pgopt.fold()")
    return Measured(statistics.median(times), wal / repeat, (time.perf_counter() - begun) / repeat / rows * 1e6)


def run(databases: dict[str, common.Database], said: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each kind of work in each way, in turns."""
    found: dict[tuple[str, int, str], list[Measured]] = {}
    for turn in range(said.runs):
        for work, statement in WORK.items():
            for rows in said.sizes:
                for way, database in databases.items():
                    common.progress(f"run {turn + 1}: {work}, {rows} rows, {way}")
                    with database.connect(options="-c synchronous_commit=off") as connection:
                        connection.execute("vacuum tickets, users, profiles")
                        repeat = max(3, min(said.repeat, said.repeat * 10 // rows))
                        found.setdefault((work, rows, way), []).append(
                            measure(connection, statement, rows, repeat, said)
                        )
    return [_line(found, work, rows, way) for work, rows, way in found]


def _line(found: dict[tuple[str, int, str], list[Measured]], work: str, rows: int, way: str) -> dict[str, Any]:
    here, usual = found[work, rows, way], found[work, rows, "row-level trigger"]
    return {
        "work": work,
        "rows": rows,
        "way": way,
        "values": [each.milliseconds for each in here],
        "median": statistics.median(each.milliseconds for each in here),
        "wal": statistics.median(each.wal for each in here),
        "fold": statistics.median(each.fold for each in here) if way == "pgopt, deferred" else None,
        "ratio": statistics.median(
            one.milliseconds / other.milliseconds for one, other in zip(here, usual, strict=True)
        ),
    }


def show(found: Sequence[dict[str, Any]]) -> None:
    common.print_table(
        "What a statement takes",
        ("work", "rows", "way", "median ms", "WAL bytes", "x row-level trigger", "fold later, us a row"),
        [
            (
                each["work"],
                f"{each['rows']:,}",
                each["way"],
                f"{each['median']:.2f}",
                f"{each['wal']:,.0f}",
                f"{each['ratio']:.2f}",
                "" if each["fold"] is None else f"{each['fold']:.1f}",
            )
            for each in found
        ],
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="of the table from which columns are copied")
    parser.add_argument("--groups", type=int, default=1_000, help="tickets, over which comments are spread")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 100, 10_000], help="rows of a statement")
    parser.add_argument("--repeat", type=int, default=500, help="statements of one row in a run")
    parser.add_argument("--runs", type=int, default=3)
    common.add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    said = arguments()
    with common.server() as server, ExitStack() as stack:
        databases = {way: stack.enter_context(server.database()) for way in WAYS}
        for way, prepare in WAYS.items():
            common.progress(f"filling the tables for {way}")
            databases[way].run(TABLES.format(rows=said.rows, groups=said.groups))
            prepare(databases[way])
            databases[way].run("vacuum analyze tickets", "vacuum analyze users", "vacuum analyze profiles")
        found = run(databases, said)
        settings = server.settings()
    show(found)
    surroundings = common.surroundings(settings)
    print()
    common.print_surroundings(surroundings)
    common.write_json(said.json, {"denormalize": found, "surroundings": surroundings})


if __name__ == "__main__":
    main()
