"""Columns that triggers keep, beside other transactions: each test interleaves on purpose, and waits for what it wants to see."""

from __future__ import annotations

import random
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event

from pgopt.operations import DenormalizeAggregate, DenormalizeColumns, InstallPgopt
from tests.contract.ledger import Writer, at_work
from tests.databases import PATIENT, wait_until
from tests.integration.test_denormalized import ADDED, ALL, COPIED, READ, REFERENCE, TABLES, drift, views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from tests.databases import Database

SCORES = """
create table players (id int primary key, team int);
create table scores (id int generated always as identity primary key, player_id int {reference}, points int);
create index on scores (player_id); create index on players (team);
create table teams (id int primary key, name text);
insert into players select g, 1 from generate_series(1, 3) g;
insert into scores (player_id, points) values (1, 10), (2, 7);
insert into teams values (1, 'old');
"""
BEST = DenormalizeAggregate(
    "players",
    source="scores",
    on={"id": "player_id"},
    columns={"best": "max(points)", "total": "sum(points)", "n": "count(*)"},
)
LISTED = DenormalizeAggregate(
    "players",
    source="scores",
    on={"id": "player_id"},
    columns={"best": "max(points)", "listed": "array_agg(points order by points)"},
)
TEAM = DenormalizeColumns("players", source="teams", on={"team": "id"}, columns={"team_name": "name"})


@pytest.fixture
def scores(database: Database) -> Database:
    """Players with their scores, and a foreign key between them."""
    database.run(SCORES.replace("{reference}", "references players"))
    database.perform(InstallPgopt(1), TEAM)
    return database


@pytest.fixture
def loose(database: Database) -> Database:
    """The same without a foreign key."""
    database.run(SCORES.replace("{reference}", ""))
    database.perform(InstallPgopt(1), BEST)
    return database


@contextmanager
def transaction(database: Database, isolation: str = "read committed") -> Iterator[Connection[Any]]:
    """A transaction that has its snapshot, where it keeps one."""
    with database.connect() as connection:
        connection.execute(f"begin isolation level {isolation}")
        connection.execute("select 1")
        yield connection


@contextmanager
def waiting(database: Database, connection: Connection[Any], statement: str) -> Iterator[Future[Any]]:
    """Run a statement that must wait for somebody."""
    with ThreadPoolExecutor() as threads:
        running = threads.submit(connection.execute, statement)
        pid = connection.info.backend_pid
        wait_until(
            "that it waits",
            lambda: running.done() or database.value(f"select cardinality(pg_blocking_pids({pid})) > 0"),
        )
        assert not running.done(), "it did not wait"
        yield running


def right(database: Database) -> bool:
    """Whether nothing has drifted."""
    with database.connect() as connection:
        return drift(connection, views(database)) == []


INSERT, DELETE = "insert into scores (player_id, points) values (1, 5)", "delete from scores where points = 10"


@pytest.mark.parametrize("kept", [BEST, LISTED], ids=["added up", "read again"])
@pytest.mark.parametrize("order", [(INSERT, DELETE), (DELETE, INSERT)], ids=["insert first", "delete first"])
def test_an_extreme_that_goes_leaves_the_one_that_comes(
    scores: Database, kept: DenormalizeAggregate, order: tuple[str, str]
) -> None:
    scores.perform(kept)
    with transaction(scores) as one, transaction(scores) as other:
        one.execute(order[0])
        with waiting(scores, other, order[1]) as running:
            one.execute("commit")
            running.result(20)
        other.execute("commit")
    assert scores.value("select best from players where id = 1") == 5
    assert right(scores)


@pytest.mark.parametrize("kept", [BEST, LISTED], ids=["added up", "read again"])
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_an_old_snapshot_is_refused(scores: Database, kept: DenormalizeAggregate, isolation: str) -> None:
    scores.perform(kept)
    with transaction(scores, isolation) as old:
        # no change that is to be seen in the maximum
        scores.run(INSERT)
        with pytest.raises(psycopg.errors.SerializationFailure):
            old.execute(DELETE)
    scores.run(DELETE)
    assert scores.value("select best from players where id = 1") == 5


SCORE_OF_4, PLAYER_4 = (
    "insert into scores (player_id, points) values (4, 1), (4, 2)",
    "insert into players values (4, 1)",
)
MANY_SCORES = "insert into scores (player_id, points) select g, 1 from generate_series(4, 2000) g"
MANY_PLAYERS = "insert into players select g, 1 from generate_series(4, 2000) g"


@pytest.mark.parametrize("score", [SCORE_OF_4, MANY_SCORES], ids=["a score", "many scores"])
@pytest.mark.parametrize("player", [PLAYER_4, MANY_PLAYERS], ids=["a player", "many players"])
@pytest.mark.parametrize("first", ["score", "player"])
def test_both_sides_that_come_at_once_know_of_each_other(loose: Database, score: str, player: str, first: str) -> None:
    statements = [score, player] if first == "score" else [player, score]
    with transaction(loose) as one, transaction(loose) as other:
        one.execute(statements[0])
        with waiting(loose, other, statements[1]) as running:
            one.execute("commit")
            running.result(20)
        other.execute("commit")
    assert loose.value("select n from players where id = 4") > 0
    assert right(loose)


def test_others_do_not_wait_for_both_sides(loose: Database) -> None:
    with transaction(loose) as one, loose.connect(options="-c lock_timeout=5s") as other:
        one.execute(SCORE_OF_4)
        other.execute("insert into players values (5, 1)")
        other.execute("insert into scores (player_id, points) values (6, 1), (1, 1)")
        one.execute(PLAYER_4)
        one.execute("commit")
    assert right(loose)


@pytest.mark.parametrize("kept", [BEST, LISTED], ids=["added up", "read again"])
@pytest.mark.parametrize("going", ["delete from players where id = 1", "update players set id = 8 where id = 1"])
def test_a_row_whose_key_was_given_up_meanwhile_has_nothing_of_the_old_one(
    database: Database, kept: DenormalizeAggregate, going: str
) -> None:
    database.run(SCORES.replace("{reference}", "references players on delete cascade on update cascade"))
    database.perform(InstallPgopt(1), kept)
    with transaction(database) as one, transaction(database) as other:
        one.execute(going)
        with waiting(database, other, "insert into players values (1, 1)") as running:
            one.execute("commit")
            running.result(20)
        other.execute("commit")
    assert database.value("select best from players where id = 1") is None
    assert right(database)


RENAME = "update teams set name = 'new' where id = 1"
REMOVE = "delete from teams where id = 1"
JOIN = "insert into players values (9, 1)"
CHANGE = "update players set team = 1 where id = 1"


@pytest.mark.parametrize("joining", [JOIN, CHANGE], ids=["insert", "update"])
@pytest.mark.parametrize("changing", [RENAME, REMOVE], ids=["rename", "remove"])
@pytest.mark.parametrize("first", ["joining", "changing"])
def test_a_row_that_comes_has_what_its_source_becomes(
    scores: Database, joining: str, changing: str, first: str
) -> None:
    scores.run("update players set team = null")
    statements = [joining, changing] if first == "joining" else [changing, joining]
    with transaction(scores) as one, transaction(scores) as other:
        one.execute(statements[0])
        with waiting(scores, other, statements[1]) as running:
            one.execute("commit")
            running.result(20)
        other.execute("commit")
    assert right(scores)


def test_a_source_that_comes_while_its_row_comes(scores: Database) -> None:
    for one_first in (True, False):
        team = 7 + one_first
        statements = [f"insert into players values ({team}, {team})", f"insert into teams values ({team}, 'late')"]
        with transaction(scores) as one, transaction(scores) as other:
            one.execute(statements[one_first])
            with waiting(scores, other, statements[not one_first]) as running:
                one.execute("commit")
                running.result(20)
            other.execute("commit")
        assert scores.value(f"select team_name from players where id = {team}") == "late"
    assert right(scores)


# -- while the rows that are there are filled ----------------------------------------------------------------------------

MEANWHILE = """
insert into comments (id, ticket_id, status, value, at) values ({n} + 1000, {n} % 20 + 1, 'OPEN', {n}, {n}), ({n} + 2000, 3, 'x', 1, 99);
update comments set ticket_id = {n} % 7 + 1, value = value + 1 where id = {n} % 60 or id = {n} + 999;
delete from comments where id = {n} + 1990 or id = {n} + 30;
insert into tickets (id, code, author) values ({n} + 500, 'n{n}', {n} % 5);
update tickets set author = {n} % 5 where id = {n} % 20;
update people set name = 'w{n}' where id = {n} % 5;
"""
FILLED = """
insert into tickets select g, 'c' || g, g % 5 from generate_series(1, 40) g;
insert into people select g, 'p' || g from generate_series(1, 4) g;
insert into comments select g, g % 30 + 1, 'OPEN', g, g from generate_series(1, 90) g;
"""
SMALL = {
    "batch_rows": 7,
    "batch_most": 7,
    "batch_seconds": 1000.0,
    "replication_lag": 0.0,
    "lock_attempts": 30,
    "lock_timeout": 0.2,
    "lock_wait": 0.05,
}


@pytest.mark.parametrize("reference", [REFERENCE, ""], ids=["with a foreign key", "without one"])
@pytest.mark.parametrize("kept", ALL, ids=["added up", "read again", "copied"])
@pytest.mark.parametrize("slow", [False, True], ids=["at a statement", "over some statements"])
def test_no_interleaving_with_the_fill_leaves_an_old_value(
    database: Database, reference: str, kept: DenormalizeAggregate, *, slow: bool
) -> None:
    database.run(TABLES.replace("{reference}", reference) + FILLED)
    database.perform(InstallPgopt(1))
    with database.connect() as writer:
        engine, between = database.engine(), Between(writer, slow=slow)
        event.listen(engine, "before_cursor_execute", lambda *_: between())
        database.perform(kept, engine=engine, settings=SMALL)
        between.finish()
    assert between.done > 10
    assert right(database)
    assert database.value("select filled from pgopt.denormalized")


class Between:
    """Writes before statements of somebody else, and commits at once or some statements later."""

    def __init__(self, connection: Connection[Any], *, slow: bool) -> None:
        self.connection = connection
        self.chance = random.Random(1) if slow else None
        self.done = 0

    def __call__(self) -> None:
        """Go on."""
        if self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            if self.chance and self.chance.random() < 0.4:
                self.finish()
        elif self.chance is None or self.chance.random() < 0.3:
            self._write()

    def _write(self) -> None:
        self.done += 1
        self.connection.execute("begin; set local lock_timeout = '20ms'")
        try:
            self.connection.execute(MEANWHILE.replace("{n}", str(self.done)))
        except psycopg.errors.LockNotAvailable:
            # the other one is at it, and cannot go on before we are done
            self.connection.execute("rollback")
        if self.chance is None:
            self.finish()

    def finish(self) -> None:
        """End what is open."""
        self.connection.execute("commit")


BONUS = DenormalizeAggregate("players", source="scores", on={"id": "player_id"}, columns={"extra": "sum(bonus)"})
BETWEEN = """
create function pause() returns trigger language plpgsql as
$$ begin if current_setting('test.pause', true) = 'on' then perform pg_advisory_xact_lock(1); end if; return null; end $$;
create trigger "{first}_then" after update on scores for each statement execute function pause()
"""


def test_two_definitions_of_one_key_do_not_wait_for_each_other_in_a_circle(loose: Database) -> None:
    loose.run(
        "alter table scores add bonus int not null default 0; insert into scores (player_id, points) values (1, 3)"
    )
    loose.perform(BONUS)
    [(first, _), (_, then)] = loose.rows(
        "select format('zz_pgopt_%s_update', tag), case when 'extra' = any(columns) then 'bonus' else 'points' end"
        " from pgopt.denormalized where source = 'scores'::regclass order by tag"
    )
    loose.run(BETWEEN.replace("{first}", first))
    with transaction(loose) as both, transaction(loose) as one, loose.connect() as pause:
        pause.execute("select pg_advisory_lock(1)")
        both.execute("set test.pause = on")
        with waiting(loose, both, "update scores set points = 11, bonus = 1 where points = 10") as paused:
            # only what is kept second reads this
            with waiting(loose, one, f"update scores set {then} = 12 where points = 3") as running:
                pause.execute("select pg_advisory_unlock(1)")
                paused.result(20)
                both.execute("commit")
                running.result(20)
            one.execute("commit")
    assert right(loose)


# -- several writers -----------------------------------------------------------------------------------------------------


def writes_of(number: int) -> Callable[[Connection[Any], int], object]:
    """A writer of comments of its own, of tickets and people that it shares with others."""
    chance = random.Random(number)

    def write(connection: Connection[Any], turn: int) -> None:
        some, base = [chance.randint(1, 20) for _ in range(5)], number * 100_000
        rows = ", ".join(
            f"({base + turn * 10 + n}, {ticket}, 'OPEN', {ticket}, {turn})" for n, ticket in enumerate(some)
        )
        mine = f"id between {base} and {base + 99_999}"
        statement = chance.choice(
            [
                f"insert into comments (id, ticket_id, status, value, at) values {rows} on conflict do nothing",
                f"update comments set ticket_id = ticket_id % 20 + 1, value = -value where {mine} and at % 5 = {turn % 5}",
                f"update comments set at = {turn} where {mine} and ticket_id in ({some[0]}, {some[1]})",
                f"delete from comments where {mine} and ticket_id in ({some[0]}, {some[1]}, {some[2]})",
                f"insert into tickets (id, code, author) values ({base + turn}, 'w{base + turn}', {some[0]})",
                f"update people set name = 'p{turn}' where id = {some[0] % 5}",
            ]
        )
        connection.execute(statement)

    return write


@pytest.mark.parametrize("reference", [REFERENCE, ""], ids=["with a foreign key", "without one"])
@pytest.mark.parametrize("kept", [ADDED, READ], ids=["added up", "read again"])
def test_four_writers_of_many_groups_a_statement_see_no_error(
    database: Database, reference: str, kept: DenormalizeAggregate
) -> None:
    database.run(TABLES.replace("{reference}", reference) + FILLED)
    database.perform(InstallPgopt(1))
    writers = [Writer(database, writes_of(number)) for number in range(1, 5)]
    with at_work(writers) as more:
        # of two with one source each would lock for itself
        database.perform(kept, COPIED, settings=PATIENT)
        for _ in range(20):
            more()
    assert right(database)
