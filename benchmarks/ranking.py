"""The leaderboard of the musclemap plan: with its join, of users who have the columns themselves, and with an index that gives the order.

The tables and their texts are as wide as those of the reference chain, which has them from the plan. Run by `matviews.py`.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import common
import harm

from pgopt.operations import CreateIndexConcurrently, DenormalizeColumns, DropIndexConcurrently, InstallPgopt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

TABLES = """
create table {schema}.users (
    id uuid primary key, username text not null unique, email text not null unique, display_name text not null,
    xp bigint not null default 0, created_at timestamptz not null default now());
create table {schema}.user_profile_extended (
    user_id uuid primary key references {schema}.users (id) on delete cascade, country varchar(2), bio text,
    ghost_mode boolean, leaderboard_opt_in boolean, updated_at timestamptz not null default now());
insert into {schema}.users
select md5(g::text)::uuid, 'user' || g, 'user' || g || '@example.com', 'User ' || g, (random() ^ 3 * 1000000)::bigint,
       now() - random() * interval '900 days'
from generate_series(1, {users}) g;
-- four of five have a profile, of 25 to 60 words
insert into {schema}.user_profile_extended
select id, (array['NL', 'US', 'DE', 'JP', 'BR', 'IN'])[1 + floor(random() * 6)::int], repeat('some word ', (random() * 18 + 13)::int),
       case when random() < 0.9 then random() < 0.05 end, random() < 0.9
from {schema}.users order by random() limit {users} * 4 / 5
"""
JOINED = """select u.id as user_id, u.username, p.country, u.xp, rank() over (order by u.xp desc) as rank
    from joined.users u left join joined.user_profile_extended p on p.user_id = u.id
    where coalesce(p.leaderboard_opt_in, true) and not coalesce(p.ghost_mode, false)"""
ALONE = """select u.id as user_id, u.username, u.country, u.xp, rank() over (order by u.xp desc) as rank
    from alone.users u where u.leaderboard_opt_in and not u.ghost_mode"""
KEPT = DenormalizeColumns(
    "users",
    source="user_profile_extended",
    on={"id": "user_id"},
    columns={
        "country": "country",
        "ghost_mode": "coalesce(ghost_mode, false)",
        "leaderboard_opt_in": "coalesce(leaderboard_opt_in, true)",
    },
    defaults={"ghost_mode": "false", "leaderboard_opt_in": "true"},
    schema="alone",
)
COVERING = CreateIndexConcurrently(
    "ix_users_ranking",
    "users",
    ["xp desc"],
    include=["id", "username", "country"],
    where="leaderboard_opt_in and not ghost_mode",
    schema="alone",
)
UNCOVERED = DropIndexConcurrently(str(COVERING.name), "users", schema="alone")
WON = "update alone.users set xp = xp + 10 where hashtext(username) % 100 = 0"

Found = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Way:
    """One way to have the ranking ready."""

    schema: str
    prepare: Callable[[common.Database], object]
    """What comes before its refresh."""


def covered(database: common.Database) -> None:
    """Give the order by an index, and let VACUUM say that its rows need not be looked at."""
    harm.by_pgopt(database, COVERING)
    database.run("vacuum analyze alone.users")


WAYS = {
    "joined": Way("joined", lambda _: None),
    "denormalised": Way("alone", lambda database: harm.by_pgopt(database, UNCOVERED)),
    "with a covering index": Way("alone", covered),
    "1 % of the users later": Way("alone", lambda database: database.run(WON)),
}
REFRESHES = {
    "REFRESH": "refresh materialized view {}.mv_xp_rankings",
    "CONCURRENTLY": "refresh materialized view concurrently {}.mv_xp_rankings",
}
# of the view as it is refreshed, and of the users as they are now
READS = {
    "the first 100, of the view": "select * from joined.mv_xp_rankings order by rank limit 100",
    "the first 100, of the users": f"{ALONE} order by u.xp desc limit 100",
    "one's own place, of the view": "select rank from joined.mv_xp_rankings where user_id = md5('77')::uuid",
    "one's own place, of the users": "select 1 + count(*) from alone.users where leaderboard_opt_in and not ghost_mode"
    " and xp > (select xp from alone.users where id = md5('77')::uuid)",
}


def fill(database: common.Database, users: int) -> None:
    """Make the tables twice: as they were, and with columns that pgopt keeps."""
    harm.by_pgopt(database, InstallPgopt(1))
    for schema, query in (("joined", JOINED), ("alone", ALONE)):
        database.run(f"create schema {schema}", *TABLES.format(schema=schema, users=users).split(";\n"))
        database.run(f"vacuum analyze {schema}.users", f"vacuum analyze {schema}.user_profile_extended")
        if schema == "alone":
            harm.by_pgopt(database, KEPT)
            database.run("vacuum analyze alone.users")
        database.run(
            f"create materialized view {schema}.mv_xp_rankings as {query}",
            f"create unique index on {schema}.mv_xp_rankings (user_id)",
        )


def measure(database: common.Database, users: int, runs: int) -> dict[str, Found]:
    """Refresh the ranking each way in turn, and read a page of it."""
    fill(database, users)
    found: dict[str, Found] = {"refresh": {name: defaultdict(list) for name in WAYS}, "read": {}}
    for run in range(runs):
        for name, way in WAYS.items():
            common.progress(f"{users:,} users, run {run + 1}: {name}")
            way.prepare(database)
            for how, statement in REFRESHES.items():
                database.run("checkpoint")
                seconds, wal = timed(database, statement.format(way.schema))
                found["refresh"][name][how].append(seconds)
                found["refresh"][name][f"{how} WAL"].append(wal)
    database.run("vacuum analyze alone.users", "analyze joined.mv_xp_rankings")
    with database.connect() as connection:
        found["read"] = {
            name: {"seconds": [read(connection, query) for _ in range(20)]} for name, query in READS.items()
        }
    return found


def read(connection: psycopg.Connection[Any], query: str) -> float:
    """Tell how long a query took."""
    started = time.perf_counter()
    connection.execute(query.encode()).fetchall()
    return time.perf_counter() - started


def timed(database: common.Database, statement: str) -> tuple[float, float]:
    """Tell how long a statement took, and how much log it wrote."""
    with database.connect() as connection:
        before = lsn(connection)
        started = time.perf_counter()
        connection.execute(statement.encode())
        return time.perf_counter() - started, lsn(connection) - before


def lsn(connection: psycopg.Connection[Any]) -> float:
    """Tell how much log the server has written since it was made."""
    row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
    return float(row[0]) if row else 0.0


def print_tables(users: int, found: dict[str, Found]) -> None:
    """Print what was measured."""
    joined = found["refresh"]["joined"]
    rows = []
    for name, of in found["refresh"].items():
        cells = [name]
        for how in REFRESHES:
            ratios = [one / other for one, other in zip(joined[how], of[how], strict=True)]
            wal = statistics.median(of[f"{how} WAL"]) / 1e6
            cells += [milliseconds(of[how]), f"{statistics.median(ratios):.2f}", f"{wal:,.0f} MB"]
        rows.append(cells)
    head = ("", *(cell for how in REFRESHES for cell in (f"{how} takes", "times faster", "WAL")))
    common.print_table(f"The ranking of {users:,} users", head, rows)
    reads = [(name, milliseconds(of["seconds"], 1)) for name, of in found["read"].items()]
    common.print_table(f"A read of the ranking of {users:,} users", ("", "takes"), reads)


def milliseconds(values: Sequence[float], digits: int = 0) -> str:
    """Write the middle one of some times."""
    return f"{statistics.median(values) * 1000:,.{digits}f} ms"
