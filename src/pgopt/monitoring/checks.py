"""What `pgopt health` looks for: thresholds over the queries of the views, and the operation that mends each fault.

The thresholds are those of PgHero, where it has one.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from pgopt.monitoring import BY_NAME, SLOW_QUERIES, STATE
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, name_of, render, sql
from pgopt.server.session import server_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from psycopg.sql import Composable

    from pgopt.server.session import Session

    Row = Mapping[str, Any]

MB = 1024 * 1024
ROWS = 10_000
"""Below so many, a table is small enough for anything."""

SESSION = {
    # the queries must mean PostgreSQL's own tables, and read bounds of partitions as they were written
    "search_path": "pg_catalog, pg_temp",
    "timezone": "UTC",
    "datestyle": "ISO",
    # a check must not queue behind DDL with others behind it, nor take long where it hurts already
    "lock_timeout": "1s",
    "statement_timeout": "30s",
    "application_name": "pgopt health",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what mends it."""

    check: str
    hurts: int
    """From 100, where the database is about to stop, down to 0."""
    subject: str
    message: str
    mend: str
    """An operation to write in a revision, or what to do where there is none."""


@dataclass
class Health:
    """All that was found, what hurts most first, and what could not be looked at."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


RESTING_ON = {"partition_headroom": "partitioned", "failing_views": "materialized", "stale_views": "refresh"}
"""What is asked of tables of the pgopt schema alone."""


@contextmanager
def reading(session: Session) -> Iterator[None]:
    """Open a transaction that only reads, for a block of queries; takes no lock on tables but ACCESS SHARE."""
    session.run("begin read only")
    try:
        session.set(SESSION, local=True)
        yield
    finally:
        session.abandon()


def look(session: Session) -> Health:
    """Make all checks, inside `reading`."""
    health = Health()
    for name, check in CHECKS.items():
        rows = rows_of(session, name, health.notes)
        health.findings += [finding for row in rows if (finding := check(row)) is not None]
    health.findings = sorted(dict.fromkeys(health.findings), key=lambda finding: -finding.hurts)
    return health


def rows_of(session: Session, name: str, notes: list[str]) -> Sequence[Row]:
    """Read what a view shows; where that cannot be, a note says why, and nothing is hidden by it."""
    question = _question(session, name, notes)
    return [] if question is None else asked(session, name, question, notes)


def asked(session: Session, name: str, question: Composable, notes: list[str]) -> Sequence[Row]:
    """Send a query in a savepoint; where it fails, a note says why."""
    session.run("savepoint looking")
    try:
        return [row._mapping for row in session.rows(question)]
    except DBAPIError as error:
        notes.append(f"{name} could not be looked at: {server_error(error).sentence}")
        session.run("rollback to looking")
        return []


def readable(session: Session, name: str) -> bool:
    """Whether there is such a relation in the pgopt schema that we may read."""
    return bool(session.value(query("readable", "pgopt.monitoring", name=literal(name))))


def _question(session: Session, name: str, notes: list[str]) -> Composable | None:
    """Read a view whose owner may see more than we do, where it is installed; else run its query, where that can be run."""
    if name in (SLOW_QUERIES, STATE):
        return _of_statements(session, name, notes)
    view = BY_NAME[name]
    if view.owned and readable(session, view.name):
        return sql("select * from {}", ident("pgopt", view.name))
    if view.name in RESTING_ON and not readable(session, RESTING_ON[view.name]):
        return None
    return view.query()


def _of_statements(session: Session, name: str, notes: list[str]) -> Composable | None:
    place, trouble = session.row(query("statements", "pgopt.monitoring"))
    if trouble is None:
        return query(name, "pgopt.monitoring", place=ident(place))
    note = f"{SLOW_QUERIES} could not be looked at: pg_stat_statements is {trouble}"
    if note not in notes:
        notes.append(note)
    return None


# -- the checks: a row of a view in, a finding out -----------------------------------------------------------------------


def blocking(row: Row) -> Finding | None:
    """Sessions that wait for a lock, PgHero's blocked queries."""
    if row["waits_for"] is None or row["waits"] is None or row["waits"].total_seconds() < 1:
        return None
    message = f"has waited {_seconds(row['waits'])} for {row['wants']} on {row['relation']}: {_short(row['query'])}"
    mend = f"end what {row['waits_for']} does, or select pg_terminate_backend({row['waits_for']})"
    return Finding("blocking", 80, f"session {row['pid']}", message, mend)


def long_running(row: Row) -> Finding | None:
    """Transactions that are open for more than a minute."""
    if row["kind"] != "client backend":
        return None
    message = f"{row['state']} in a transaction for {_seconds(row['open_for'])}: {_short(row['query'])}"
    mend = f"end it in {row['application'] or 'the application'}, or select pg_terminate_backend({row['pid']})"
    return Finding("long_running", 60, f"session {row['pid']} of {row['role']}", message, mend)


def connections(row: Row) -> Finding | None:
    """Connections of the whole server: 500, or four fifths of what it takes; 100 that are idle in a transaction."""
    count, most = row["all_connections"], row["max_connections"]
    if count >= 500 or count >= 0.8 * most:
        # said by each row, and kept once
        return Finding("connections", 75, "the server", f"{count} of {most} connections", _POOL)
    if row["state"] == "idle in transaction" and row["connections"] >= 100:
        return Finding("connections", 65, str(row["role"]), f"{row['connections']} idle in transaction", _POOL)
    return None


_POOL = "use a pool in transaction mode, or smaller pools in the application"


def vacuum_state(row: Row) -> Finding | None:
    """Wraparound, dead rows, and tables that were never analyzed."""
    name = _table(row)
    if row["xids_left"] < 1_500_000_000:
        hurts = 100 if row["xids_left"] < 100_000_000 else 70
        message = f"{row['xids_left']:,} transactions are left before the server takes no more writes"
        return Finding("vacuum_state", hurts, name, message, f"vacuum (freeze) {name}, and see what holds VACUUM up")
    dead, live = row["dead_rows"] or 0, row["live_rows"] or 0
    if dead >= ROWS and dead > 0.2 * (live + dead):
        message = f"{dead:,} dead rows, {row['dead_percent']} % of all" + (
            "" if row["autovacuum"] else "; autovacuum is off"
        )
        return Finding("vacuum_state", 40, name, message, _vacuum_more(row))
    if live >= ROWS and row["last_analyze"] is None and row["last_autoanalyze"] is None:
        message = f"about {live:,} rows, never analyzed since the statistics began"
        return Finding("vacuum_state", 45, name, message, _call("analyze", row["table_name"], **_schema(row)))
    return None


def sequence_headroom(row: Row) -> Finding | None:
    """Sequences that have used nine tenths of their numbers."""
    if row["used_percent"] is None or row["used_percent"] <= 90:
        return None
    where = f"{row['table_name']}.{row['column_name']} ({row['column_type']})" if row["column_name"] else ""
    message = f"{row['used_percent']} % used, {row['numbers_left']:,} numbers left" + (f" for {where}" if where else "")
    mend = "make the column a bigint" if where and row["column_type"] != "bigint" else "raise the sequence's maxvalue"
    hurts = 95 if row["used_percent"] >= 98 else 85
    return Finding("sequence_headroom", hurts, _name(row["schema_name"], row["sequence_name"]), message, mend)


def failing_view(row: Row) -> Finding:
    """A materialized view whose rows grow old."""
    since = (
        "has no rows that pgopt knows of"
        if row["fresh_at"] is None
        else f"shows what was there on {row['fresh_at']:%Y-%m-%d %H:%M}"
    )
    message = f"{since}; its last {row['failures']} refreshes have failed: {_short(row['error'])}"
    mend = _call("refresh_materialized_view", row["view_name"], **_schema(row))
    return Finding("failing_views", 60, _name(row["schema_name"], row["view_name"]), message, mend)


def stale_view(row: Row) -> Finding | None:
    """A materialized view that was not refreshed for three times as long as usual, or never filled."""
    if row["failures"]:
        # said of failing_views
        return None
    if not row["populated"]:
        message = "was never filled: reading it is an error"
    else:
        message = (
            f"shows what was there on {row['fresh_at']:%Y-%m-%d %H:%M}, {_long(row['age'])} ago;"
            f" it is usually refreshed every {_long(row['usual'])}"
        )
    mend = _call("refresh_materialized_view", row["view_name"], **_schema(row))
    hurts = 50 if row["populated"] else 58
    return Finding("stale_views", hurts, _name(row["schema_name"], row["view_name"]), message, mend)


def partition_headroom(row: Row) -> Finding | None:
    """Partitions that end within a day, and rows that found none."""
    if row["hours_left"] is not None and row["hours_left"] < 24:
        message = f"the last partition ends in {row['hours_left']} hours"
        return Finding("partition_headroom", 90, _table(row), message, "make more partitions ahead of time")
    if (row["default_rows"] or 0) > 0:
        message = f"about {row['default_rows']:,} rows in {row['default_partition']}"
        return Finding("partition_headroom", 50, _table(row), message, "make the partitions that these rows belong to")
    return None


def invalid_objects(row: Row) -> Finding | None:
    """Invalid indexes, which writers keep up and no query uses, and constraints that were never validated."""
    schema = _schema(row)
    if row["kind"] == "index":
        left_behind = re.search(r"_cc(new|old)\d*$", row["name"])
        mend = (
            _call("drop_index_concurrently", row["name"], row["table_name"], **schema)
            if left_behind
            else _call("reindex_concurrently", row["name"], **schema)
        )
        return Finding(
            "invalid_objects", 55, _name(row["schema_name"], row["name"]), f"is invalid: {row['definition']}", mend
        )
    table, constraint = ident(row["schema_name"], row["table_name"]), ident(row["name"])
    statement = render(sql("alter table {} validate constraint {}", table, constraint))
    message = "was never checked against the rows that were there before it"
    return Finding("invalid_objects", 35, f"{row['name']} on {_table(row)}", message, _call("execute", statement))


def missing_fk_index(row: Row) -> Finding | None:
    """Foreign keys of tables that are not small, without an index."""
    if (row["table_rows"] or 0) < ROWS:
        return None
    columns = list(row["columns"])
    message = (
        f"no index begins with {', '.join(columns)}: each delete in {row['referenced_table']}"
        f" reads about {row['table_rows']:,} rows"
    )
    name = name_of("ix", row["table_name"], *columns)
    mend = _call("create_index_concurrently", name, row["table_name"], columns, **_schema(row))
    return Finding("missing_fk_indexes", 52, f"{row['constraint_name']} on {_table(row)}", message, mend)


def cache_hit(row: Row) -> Finding | None:
    """Less than 99 % of what was read found in memory."""
    if row["hits"] + row["reads"] < 100_000 or row["hit_percent"] >= 99:
        return None
    return Finding(
        "cache_hit",
        38,
        row["kind"],
        f"{row['hit_percent']} % were in shared_buffers",
        "raise shared_buffers, or read less",
    )


def index_bloat(row: Row) -> Finding | None:
    """Indexes that would be 100 MB smaller."""
    if row["unreliable"] or row["bloat_bytes"] < 100 * MB:
        return None
    mend = _call("reindex_concurrently", row["index_name"], **_schema(row))
    return Finding("index_bloat", 30, _name(row["schema_name"], row["index_name"]), _bloat(row), mend)


def table_bloat(row: Row) -> Finding | None:
    """Tables that would be 100 MB smaller, and by more than a third."""
    if row["unreliable"] or row["bloat_bytes"] < 100 * MB or row["bloat_percent"] < 33:
        return None
    return Finding("table_bloat", 28, _table(row), _bloat(row), f"{_vacuum_more(row)}; pg_repack gives the space back")


def unused_index(row: Row) -> Finding | None:
    """Indexes of 10 MB that nobody used."""
    if row["bytes"] < 10 * MB:
        return None
    since = f"in {row['stats_age'].days} days" if row["stats_age"] is not None else "since the statistics began"
    message = f"{row['bytes'] // MB:,} MB, not used {since}; look at standbys, too"
    return Finding("unused_indexes", 20, _name(row["schema_name"], row["index_name"]), message, _drop(row))


def duplicate_index(row: Row) -> Finding | None:
    """Indexes that another one stands for."""
    message = f"{row['bytes'] // MB:,} MB; {row['covered_by']} " + (
        "is equal" if row["equal"] else "begins with the same columns"
    )
    return Finding("duplicate_indexes", 25, _name(row["schema_name"], row["index_name"]), message, _drop(row))


def slow_query(row: Row) -> Finding | None:
    """Statements of 20 ms and more, called 100 times."""
    if row["mean_exec_time"] < 20 or row["calls"] < 100:
        return None
    message = (
        f"{row['mean_exec_time']:,.0f} ms on average, {row['calls']:,} calls, {row['share_percent']} % of all time:"
        f" {_short(row['query'])}"
    )
    return Finding("slow_queries", 48, f"query {row['queryid']}", message, "see why: pgopt explain 'SQL'")


def statements_full(row: Row) -> Finding | None:
    """A table of statements that forgets."""
    if row["state"] != "full":
        return None
    message = f"{row['entries']} of {row['most']} entries, evicted {row['evictions']} times"
    return Finding("slow_queries", 15, "pg_stat_statements", message, row["advice"])


CHECKS: dict[str, Callable[[Row], Finding | None]] = {
    "blocking": blocking,
    "long_running": long_running,
    "connections": connections,
    "vacuum_state": vacuum_state,
    "sequence_headroom": sequence_headroom,
    "partition_headroom": partition_headroom,
    "failing_views": failing_view,
    "stale_views": stale_view,
    "invalid_objects": invalid_objects,
    "missing_fk_indexes": missing_fk_index,
    "cache_hit": cache_hit,
    "index_bloat": index_bloat,
    "table_bloat": table_bloat,
    "duplicate_indexes": duplicate_index,
    "unused_indexes": unused_index,
    SLOW_QUERIES: slow_query,
    STATE: statements_full,
}


# -- words ---------------------------------------------------------------------------------------------------------------

_DEFINITION = re.compile(r"CREATE INDEX .* USING (\w+) \(([^()\"]*)\)(?: INCLUDE \(([^()\"]*)\))?(?: WHERE \((.*)\))?")


def _drop(row: Row) -> str:
    """Write what drops an index, with its definition where that is read without doubt, so that it can be undone."""
    keywords: dict[str, Any] = {}
    positional = [row["index_name"], row["table_name"]]
    if match := _DEFINITION.fullmatch(row["definition"]):
        using, columns, include, where = match.groups()
        positional.append(columns.split(", "))
        keywords = {
            "using": None if using == "btree" else using,
            "include": include and include.split(", "),
            "where": where,
        }
    return _call("drop_index_concurrently", *positional, **keywords, **_schema(row))


def _vacuum_more(row: Row) -> str:
    parameters = {"autovacuum_vacuum_scale_factor": 0.02}
    return _call("set_storage_parameters", row["table_name"], parameters, **_schema(row))


def _call(directive: str, *arguments: Any, **keywords: Any) -> str:
    said = [
        *map(_repr, arguments),
        *(f"{name}={_repr(value)}" for name, value in keywords.items() if value is not None),
    ]
    return f"op.{directive}({', '.join(said)})"


def _repr(value: Any) -> str:
    """Write a value as ruff would, in double quotes."""
    if isinstance(value, str):
        return repr(value) if '"' in value or "\\" in value or not value.isprintable() else f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_repr, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_repr(key)}: {_repr(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _schema(row: Row) -> dict[str, str]:
    return {} if row["schema_name"] == "public" else {"schema": row["schema_name"]}


def _table(row: Row) -> str:
    return _name(row["schema_name"], row["table_name"])


def _name(schema: str, name: str) -> str:
    return name if schema == "public" else f"{schema}.{name}"


def _bloat(row: Row) -> str:
    about = "" if row.get("measured") else "about "
    return f"{about}{row['bloat_bytes'] // MB:,} MB of {row['bytes'] // MB:,} MB are not needed"


def _seconds(time: Any) -> str:
    return f"{time.total_seconds():,.0f} s"


def _long(time: Any) -> str:
    """Say how long, in the unit that fits."""
    seconds = time.total_seconds()
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _short(text: str | None) -> str:
    words = " ".join((text or "").split())
    return words if len(words) <= 80 else f"{words[:79]}…"
