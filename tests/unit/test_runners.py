"""One runner at a time: the lock that is polled, and the settings that come and go with it."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.exc import DBAPIError

from pgopt import Monthly
from pgopt.errors import InvalidOperation, RunnerBusy
from pgopt.operations import (
    AddColumnOnline,
    Backfill,
    CreateCheckConstraintOnline,
    CreateForeignKeyOnline,
    CreateIndexConcurrently,
    CreateMaterializedView,
    CreateRetentionPolicy,
    CreateUniqueConstraintOnline,
    InstallPgopt,
    PartitionTable,
    RefreshMaterializedView,
    ReindexConcurrently,
    RenameIndex,
    SetNotNullOnline,
    SetStorageParameters,
)
from pgopt.server import runners
from pgopt.server.catalog import Catalog
from pgopt.server.locks import SESSION, Blocker, Lock, Mode, blockers_of
from pgopt.server.objects import TableNamed
from pgopt.server.quoting import literal, verbatim
from pgopt.server.session import Session
from tests.databases import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pgopt.operations import Operation
    from pgopt.server.runners import Holder
    from tests.databases import Database

LONG = {"lock_timeout": "6h", "statement_timeout": "0"}


def nobody(what: str, holder: Holder | None) -> None:
    raise AssertionError(what, holder)


alone = partial(runners.alone, settings=LONG, patience=0, waiting=nobody)
take = partial(runners.take, patience=0, waiting=nobody)


@contextmanager
def take_for_a_block(session: Session, subject: str | TableNamed) -> Iterator[None]:
    take(session, subject)
    yield


# a function that is found before the server's
SLOW_AFTER_THE_LOCK = """
    create schema slow;
    create function slow.pg_try_advisory_lock(key bigint) returns bool language plpgsql as
    'begin perform pg_catalog.pg_try_advisory_lock(key); perform pg_catalog.pg_sleep(60); return true; end'
"""


def test_the_second_runner_gives_up_and_names_the_first(database: Database) -> None:
    told: list[tuple[str, Holder | None]] = []
    with session_of(database, "first run") as first, session_of(database) as second:
        with alone(first, "table t"):
            with pytest.raises(
                RunnerBusy, match=rf"at work on table t: pid {first.pid} \w+ \(first run\), connected for [\d.]+ s$"
            ):
                take(second, "table t", patience=0.3, waiting=lambda *both: told.append(both))
            take(second, "table u")
            assert [(what, holder and holder.pid) for what, holder in told] == [("table t", first.pid)], "told once"
        take(second, "table t")


def test_who_may_not_see_other_sessions_is_told_what_is_known(database: Database) -> None:
    with stranger(database) as role, session_of(database, "first run") as first, session_of(database) as second:
        name = first.value("select current_user")
        first.run("begin", "create table t (a int)")
        second.run(f"set role {role}")
        with alone(first, "t"):
            with pytest.raises(RunnerBusy, match=rf"at work on t: pid {first.pid} {name} \(first run\)$"):
                take(second, "t", waiting=lambda *_: None)
            first.run("commit", "begin", "lock table t")
            (seen,) = blockers_of(second, [Lock(Mode.SHARE, "t")])
            first.run("rollback")
        assert str(seen) == f"pid {first.pid} {name} (first run)"


def test_a_session_without_a_transaction_is_told_without_its_age(database: Database) -> None:
    with session_of(database, "some work") as first, session_of(database) as second:
        row = second.row(f"select {SESSION} from pg_stat_activity a where pid = {first.pid}")
        assert re.fullmatch(rf"pid {first.pid} \w+ \(some work\), idle: select pg_backend_pid\(\)", str(Blocker(*row)))


@contextmanager
def stranger(database: Database) -> Iterator[str]:
    name = f"stranger_{database.name}"
    database.run(f"create role {name}")
    try:
        yield name
    finally:
        database.run(f"drop role {name}")


def test_lock_and_settings_are_given_back_after_an_error(database: Database) -> None:
    with session_of(database) as first, session_of(database) as second:
        first.run("set lock_timeout = '7s'", "set statement_timeout = '8s'")
        with pytest.raises(ZeroDivisionError), alone(first, "t"):
            _ = settings(first) == ("6h", "0") and 1 / 0
        assert settings(first) == ("7s", "8s")
        take(second, "t")
        with pytest.raises(RunnerBusy), alone(first, "t"):
            pass
        assert settings(first) == ("7s", "8s")
        assert first.value("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()") == 0


def test_no_lock_is_left_by_settings_that_the_server_refuses(database: Database) -> None:
    with session_of(database) as first, session_of(database) as second:
        with (
            pytest.raises(DBAPIError, match="lock_timeout"),
            alone(first, "t", settings={"lock_timeout": "2592000000ms"}),
        ):
            pass
        assert locks_held(second) == 0
        take(second, "t")


@pytest.mark.parametrize("enter", [alone, take_for_a_block], ids=["alone", "take"])
@pytest.mark.parametrize("subject", ["t", TableNamed("T %", "Other")], ids=str)
def test_no_lock_is_left_by_a_statement_that_is_cancelled_after_it(
    database: Database, enter: Callable[..., AbstractContextManager[object]], subject: str | TableNamed
) -> None:
    database.run('create schema "Other"; create table "Other"."T %" (id int)')
    database.run(SLOW_AFTER_THE_LOCK)
    with session_of(database) as first, session_of(database) as second:
        first.run("set search_path = slow, pg_catalog", "set statement_timeout = '200ms'")
        with pytest.raises(DBAPIError, match="canceling statement due to statement timeout"), enter(first, subject):
            pass
        assert locks_held(second) == 0
        assert settings(first)[1] == "200ms"
        take(second, subject)


def test_a_lock_that_another_has_stays_when_the_statement_fails(database: Database) -> None:
    with session_of(database) as first, session_of(database) as second:
        take(second, "t")
        with pytest.raises(DBAPIError), alone(first, "t", settings={"lock_timeout": "nothing"}):
            pass
        assert locks_held(second) == 1


def test_the_lock_is_given_back_when_the_session_ends(database: Database) -> None:
    with session_of(database) as second:
        with session_of(database) as first:
            take(first, "t")
        take(second, "t", patience=20, waiting=lambda *_: None)


NAMED_ALIKE = 'create table "User %" (id int); create index "ix %" on "User %" (id); create materialized view "View %" as select 1'


@pytest.mark.parametrize(
    ("operation", "known_by"),
    [
        (RenameIndex("ix %", "other"), TableNamed("User %")),
        (ReindexConcurrently(name="ix %"), TableNamed("User %")),
        (SetStorageParameters("ix %", {"fillfactor": 90}), TableNamed("User %")),
        (SetStorageParameters("User %", {"fillfactor": 90}), TableNamed("User %")),
        (RefreshMaterializedView("View %"), TableNamed("View %")),
        (CreateMaterializedView("View %", "select 1"), TableNamed("View %")),
    ],
    ids=str,
)
def test_all_operations_lock_a_table_by_the_same_name(database: Database, operation: Any, known_by: TableNamed) -> None:
    database.run(NAMED_ALIKE)
    with session_of(database) as first, session_of(database) as second:
        subject = operation.subject(Catalog(second))
        with alone(first, known_by), pytest.raises(RunnerBusy, match="another pgopt run is at work"):
            take(second, subject)


def test_a_view_is_locked_by_the_name_that_it_will_have(database: Database) -> None:
    create = CreateMaterializedView("View %", "select 1")
    with session_of(database) as first, session_of(database) as second, alone(first, create.subject(Catalog(first))):
        database.run('create materialized view "View %" as select 1')
        with pytest.raises(RunnerBusy, match=r'at work on public\."View %"'):
            take(second, create.subject(Catalog(second)))


def test_a_table_is_looked_up_with_the_lock(database: Database) -> None:
    database.run('create schema "Other"; create table "Other"."T %" (id int); create view v as select 1')
    with session_of(database) as first, session_of(database) as second:
        first.run('set search_path = "Other"')
        with alone(first, TableNamed("T %"), along=verbatim("1 + 1")) as claim:
            assert (claim.what, claim.told) == ('"Other"."T %"', 2)
            with pytest.raises(RunnerBusy, match=r'at work on "Other"\."T %"'):
                take(second, TableNamed("T %", "Other"), waiting=lambda *_: None)
        take(second, TableNamed("T %", "Other"))
        before = settings(first)
        with (
            pytest.raises(InvalidOperation, match="there is no table 't' on the search path"),
            alone(first, TableNamed("t")),
        ):
            pass
        assert settings(first) == before


@pytest.mark.parametrize(
    "operation",
    [
        CreateIndexConcurrently("ix", "v", ["id"]),
        CreateCheckConstraintOnline("ck", "v", "id > 0"),
        CreateForeignKeyOnline("fk", "v", "v", ["id"], ["id"]),
        CreateUniqueConstraintOnline("uq", "v", ["id"]),
        SetNotNullOnline("v", "id"),
        AddColumnOnline("v", "n", "int"),
        Backfill("v", {"id": "1"}),
        CreateRetentionPolicy("v", column="id", keep="7 days"),
        PartitionTable("v", by=Monthly("id")),
        ReindexConcurrently(table="v"),
    ],
    ids=lambda operation: operation.directive,
)
def test_what_is_no_table_is_refused_under_the_lock_and_lets_go_of_it(database: Database, operation: Operation) -> None:
    database.run("create view v as select 1 as id")
    database.perform(InstallPgopt(1))
    with database.engine().connect() as connection, pytest.raises(InvalidOperation, match="v is a view, not a table"):
        Operations(MigrationContext.configure(connection)).invoke(operation)
    assert database.value("select count(*) from pg_locks where locktype = 'advisory'") == 0


def test_who_waited_for_the_lock_has_it(database: Database) -> None:
    with session_of(database) as first, session_of(database) as second:
        take(first, "t")
        released = partial(runners.release, first, "t")
        with alone(second, "t", patience=20, waiting=lambda *_: released()) as claim:
            assert claim.what == "t"


@pytest.mark.parametrize("what", ["t", "u", "public.a", "a table whose key is negative"])
def test_a_holder_is_found_by_any_key(database: Database, what: str) -> None:
    with session_of(database) as first, session_of(database) as second:
        take(first, what)
        found = runners.holder_of(second, what)
        assert found is not None
        assert found.pid == first.pid


def test_keys_of_both_signs_are_tried(database: Database) -> None:
    with session_of(database) as session:
        keys = [
            session.value(f"select {render_key(what)}")
            for what in ("t", "u", "public.a", "a table whose key is negative")
        ]
    assert {key > 0 for key in keys} == {True, False}


def render_key(what: str) -> str:
    return runners.lock_number(literal(what)).as_string(None)


def test_a_waiting_runner_does_not_hold_up_an_index_of_the_first(database: Database) -> None:
    database.run("create table t (a int); insert into t values (1)")
    waiting = threading.Event()
    with session_of(database) as first, session_of(database) as second, ThreadPoolExecutor() as threads:
        take(first, "t")
        other = threads.submit(take, second, "t", patience=60, waiting=lambda *_: waiting.set())
        try:
            assert waiting.wait(20)
            # it would wait for ever for a session that waits in pg_advisory_lock, which has a snapshot
            first.run("set lock_timeout = '20s'", "create index concurrently i on t (a)")
            assert not other.done(), "the second one waited all the time"
        finally:
            runners.release(first, "t")
        other.result(20)
        wait_until("the second runner has it", lambda: runners.holder_of(first, "t"))


def locks_held(session: Session) -> int:
    return int(session.value("select count(*) from pg_locks where locktype = 'advisory'"))


def settings(session: Session) -> tuple[str, ...]:
    return tuple(session.row("select current_setting('lock_timeout'), current_setting('statement_timeout')"))


@contextmanager
def session_of(database: Database, application: str = "") -> Iterator[Session]:
    with database.engine(connect_args={"application_name": application}).connect() as connection:
        session = Session(connection)
        with session.autocommit():
            yield session
