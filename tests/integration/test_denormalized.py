"""Columns that triggers keep: right after any statement, beside other transactions, and under the rights that writers have."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pgopt import InvalidOperation
from pgopt.operations import DenormalizeAggregate, DenormalizeColumns, InstallPgopt
from tests.contract.ledger import Writer, at_work
from tests.databases import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from tests.databases import Database

PATIENT = {"lock_attempts": 30, "lock_timeout": 2.0, "lock_wait": 1.0}

TABLES = """
create table tickets (id int primary key, code text not null unique, author int);
create table comments (id int primary key, ticket_id int {reference}, status text, value numeric, at int, next int references comments on delete cascade);
create index on comments (ticket_id);
create index on tickets (author);
create table people (id int primary key, name text, about jsonb);
"""
REFERENCE = "references tickets on update cascade on delete cascade"
ADDED = DenormalizeAggregate(
    "tickets",
    source="comments",
    on={"id": "ticket_id"},
    columns={
        "n": "count(*)",
        "open": "count(value) filter (where status = 'OPEN')",
        "total": "sum(value) filter (where status <> 'x')",
        "last": "max(at)",
        "first": "min(status)",
    },
)
READ = DenormalizeAggregate(
    "tickets",
    source="comments",
    on={"id": "ticket_id"},
    columns={"all_at": "array_agg(at order by id)", "mean": "avg(value)", "kinds": "count(distinct status)"},
)
COPIED = DenormalizeColumns(
    "tickets", source="people", on={"author": "id"}, columns={"author_name": "name", "about": "about"}, defaults={"author_name": "'nobody'"}
)
ALL = (ADDED, READ, COPIED)


def views(database: Database) -> list[str]:
    """The views that show what has drifted."""
    return [name for (name,) in database.rows("select format('pgopt.denormal_%s', tag) from pgopt.denormalized order by id")]


def drift(connection: Connection[Any], names: Sequence[str]) -> list[Any]:
    """Rows that are not what they should be, all seen at one moment."""
    return [row for name in names for row in connection.execute(f"select '{name}', d.* from {name} d where drifted").fetchall()]


# -- any statements ------------------------------------------------------------------------------------------------------

TICKET, COMMENT, PERSON = (st.integers(1, n) for n in (6, 12, 4))
WHERE = st.one_of(
    COMMENT.map(lambda n: f"id = {n}"),
    TICKET.map(lambda n: f"ticket_id = {n}"),
    TICKET.map(lambda n: f"ticket_id in ({n}, {n + 1}, {n + 2})"),
    st.sampled_from(["true", "false", "ticket_id is null", "status = 'OPEN'"]),
)
VALUE = st.sampled_from(["null", "0", "1.50", "-1.5", "7", "'NaN'", "'infinity'"])
STATUS = st.sampled_from(["null", "'OPEN'", "'x'", "'done'"])
KEY = st.one_of(st.just("null"), TICKET.map(str))
ROW = st.builds(
    lambda i, t, s, v, a: f"({i}, {t}::int, {s}::text, {v}::numeric, {a})", COMMENT, KEY, STATUS, VALUE, st.integers(1, 5)
)
ROWS = st.lists(ROW, min_size=1, max_size=4, unique_by=lambda row: row.split(",")[0]).map(", ".join)
SET = st.one_of(
    KEY.map(lambda key: f"ticket_id = {key}"),
    st.just("ticket_id = ticket_id % 6 + 1"),
    STATUS.map(lambda status: f"status = {status}"),
    VALUE.map(lambda value: f"value = {value}"),
    st.just("value = -value"),
    st.just("at = 6 - at"),
    st.just("next = nullif(id, 1) - 1"),
    st.just("id = id"),
)
CONFLICT = "on conflict (id) do update set ticket_id = excluded.ticket_id, value = excluded.value, at = excluded.at"
COMMENTS = "insert into comments (id, ticket_id, status, value, at)"
STATEMENTS = st.one_of(
    ROWS.map(lambda rows: f"{COMMENTS} values {rows}"),
    ROWS.map(lambda rows: f"{COMMENTS} values {rows} on conflict do nothing"),
    ROWS.map(lambda rows: f"{COMMENTS} values {rows} {CONFLICT}"),
    st.builds(lambda s, w: f"update comments set {s} where {w}", SET, WHERE),
    WHERE.map(lambda where: f"delete from comments where {where}"),
    st.sampled_from(["truncate comments", "truncate tickets cascade", "truncate people"]),
    st.builds(
        lambda rows, where: (
            f"merge into comments c using (values {rows}) v (id, ticket_id, status, value, at) on c.id = v.id"
            f" when matched and c.at < 3 then delete when matched then update set ticket_id = v.ticket_id, value = v.value"
            f" when not matched then insert (id, ticket_id, status, value, at) values (v.id, v.ticket_id, v.status, v.value, v.at)"
        ),
        ROWS,
        WHERE,
    ),
    st.builds(lambda t, p: f"insert into tickets (id, code, author) values ({t}, 'c{t}', {p}) on conflict do nothing", TICKET, PERSON),
    st.builds(lambda t, p: f"update tickets set author = {p} where id = {t}", TICKET, st.one_of(PERSON, st.just("null"))),
    st.builds(lambda t, u: f"update tickets set id = {u} where id = {t} and not exists (select from tickets where id = {u})", TICKET, TICKET),
    TICKET.map(lambda t: f"delete from tickets where id = {t}"),
    st.builds(lambda p, n: f"insert into people values ({p}, 'p{n}', '{n}') on conflict (id) do update set name = excluded.name", PERSON, TICKET),
    st.builds(lambda p, q: f"update people set id = {q} where id = {p} and not exists (select from people where id = {q})", PERSON, PERSON),
    PERSON.map(lambda p: f"delete from people where id = {p}"),
    PERSON.map(lambda p: f"update people set about = '[{p}]' where id >= {p}"),
    # both tables in one command
    st.builds(
        lambda rows, t: f"with c as ({COMMENTS} values {rows} {CONFLICT}) insert into tickets values ({t}, 'c{t}', 1) on conflict do nothing",
        ROWS,
        TICKET,
    ),
    st.builds(
        lambda where, t: f"with c as (delete from comments where {where}) update tickets set id = {t} where id = (select max(id) from tickets)"
        f" and not exists (select from tickets where id = {t})",
        WHERE,
        TICKET,
    ),
)
REFUSED = (psycopg.errors.IntegrityError, psycopg.errors.CardinalityViolation)


def run_all(database: Database, statements: Sequence[str], chance: random.Random) -> None:
    """Run statements, some of them in one transaction or taken back, and look after each for what has drifted."""
    names = views(database)
    with database.connect() as connection:
        connection.execute("truncate tickets, comments, people")
        connection.execute("insert into tickets select g, 'c' || g, g % 5 from generate_series(1, 4) g")
        connection.execute("insert into people select g, 'p' || g from generate_series(1, 2) g")
        for statement in statements:
            connection.autocommit = chance.random() < 0.7
            try:
                with connection.transaction(force_rollback=chance.random() < 0.1):
                    connection.execute(statement)
                    assert drift(connection, names) == [], statement
            except REFUSED:
                pass
            assert drift(connection, names) == [], statement
            if connection.autocommit is False and chance.random() < 0.3:
                connection.rollback()
            connection.commit()


@pytest.fixture(params=[REFERENCE, ""], ids=["with a foreign key", "without one"])
def kept(request: pytest.FixtureRequest, database: Database) -> Database:
    """Tables of which one is kept by all means."""
    database.run(TABLES.replace("{reference}", request.param))
    database.perform(InstallPgopt(1), *ALL)
    return database


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@given(statements=st.lists(STATEMENTS, min_size=10, max_size=25), seed=st.integers(0, 1000))
def test_columns_are_right_after_any_statement(kept: Database, statements: list[str], seed: int) -> None:
    run_all(kept, statements, random.Random(seed))
