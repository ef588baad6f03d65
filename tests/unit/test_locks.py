"""Locks as the server knows them."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING

import psycopg

from pgopt.server import locks
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import render
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Database

SUX, S, AX = Mode.SHARE_UPDATE_EXCLUSIVE, Mode.SHARE, Mode.ACCESS_EXCLUSIVE


# -- modes ---------------------------------------------------------------------------------------------------------------


def test_every_conflict_is_the_servers(database: Database) -> None:
    database.run("create table t ()")
    with database.connect() as one, database.connect() as other:
        seen = {(held, wanted): _refused(one, other, held, wanted) for held, wanted in product(Mode, Mode)}
    assert len(seen) == 64
    assert seen == {(held, wanted): wanted in held.conflicts() for held, wanted in seen}
    assert {mode for mode in Mode if mode.blocks_reads} == {held for held, w in seen if w == 1 and seen[held, w]}
    assert {mode for mode in Mode if mode.blocks_writes} == {held for held, w in seen if w == 3 and seen[held, w]}


def _refused(one: psycopg.Connection, other: psycopg.Connection, held: Mode, wanted: Mode) -> bool:
    with one.transaction(force_rollback=True):
        one.execute(f"lock table t in {held.words} mode")
        try:
            with other.transaction(force_rollback=True):
                other.execute(f"lock table t in {wanted.words} mode nowait")
        except psycopg.errors.LockNotAvailable:
            return True
        return False


def test_the_names_are_the_servers(database: Database) -> None:
    database.run("create table t ()")
    with database.connect() as connection:
        for mode in Mode:
            with connection.transaction(force_rollback=True):
                connection.execute(f"lock table t in {mode.words} mode")
                row = connection.execute(
                    "select mode from pg_locks where pid = pg_backend_pid() and relation = 't'::regclass"
                ).fetchone()
            assert row == (mode.server_name,)
            assert Mode.from_server(mode.server_name) is mode


# -- LOCK TABLE ----------------------------------------------------------------------------------------------------------


def test_locks_are_taken_in_their_order_with_one_statement_for_each_run_of_a_mode() -> None:
    wanted = [
        Lock(AX, "a", "My Schema"),
        Lock(AX, 'b"c'),
        Lock(AX, "i", is_index=True),
        Lock(SUX, "d"),
        Lock(AX, "e"),
    ]
    assert [render(statement) for statement in locks.lock_tables(wanted)] == [
        'lock table only "My Schema"."a", only "b""c" in access exclusive mode',
        'lock table only "d" in share update exclusive mode',
        'lock table only "e" in access exclusive mode',
    ]
    assert list(locks.lock_tables([Lock(SUX, "i", is_index=True)])) == []


def test_lock_tables_takes_just_those_locks(database: Database) -> None:
    database.run(
        "create table a (i int) partition by list (i); create table a1 partition of a default; create table b ()"
    )
    with _session(database) as session, session.rolled_back():
        session.run(*locks.lock_tables([Lock(AX, "a", "public"), Lock(S, "b", "public")]))
        held = session.rows(
            "select relation::regclass::text, mode from pg_locks where pid = pg_backend_pid() and locktype = 'relation'"
            " and relation in ('a'::regclass, 'a1'::regclass, 'b'::regclass) order by 1"
        )
    assert list(map(tuple, held)) == [("a", "AccessExclusiveLock"), ("b", "ShareLock")]


# -- who is in the way ---------------------------------------------------------------------------------------------------


def test_only_holders_of_conflicting_locks_on_these_tables_are_blockers(database: Database) -> None:
    database.run('create table "T 1" (); create table other ()')
    with (
        database.connect(application_name="reporting") as reader,
        database.connect() as elsewhere,
        _session(database) as session,
        reader.transaction(),
        elsewhere.transaction(),
    ):
        reader.execute('select *\nfrom "T 1"')
        elsewhere.execute("lock table other")
        assert locks.blockers_of(session, [Lock(SUX, "T 1", "public")]) == []
        assert locks.blockers_of(session, []) == []
        assert locks.blockers_of(session, [Lock(AX, "gone", "public")]) == []
        (found,) = locks.blockers_of(session, [Lock(AX, "T 1", "public")])
        assert (found.pid, found.application, found.state) == (
            reader.info.backend_pid,
            "reporting",
            "idle in transaction",
        )
        assert str(found).endswith(": select *"), "only the first line"
        assert f"pid {found.pid} {found.user} (reporting), idle in transaction, transaction open for " in str(found)


def test_older_transactions_are_named_oldest_first(database: Database) -> None:
    with (
        database.connect() as oldest,
        database.connect() as older,
        database.connect(),
        _session(database) as session,
        oldest.transaction(),
        older.transaction(),
    ):
        oldest.execute("select 1")
        older.execute("select 1")
        pids = [oldest.info.backend_pid, older.info.backend_pid]
        assert [found.pid for found in locks.older_than(session, 0)] == pids
        assert locks.older_than(session, 3600) == []


def test_prepared_transactions_are_named_with_what_ends_them(database: Database) -> None:
    database.run("create table kept (id int); create table other (id int)")
    with database.connect() as connection:
        connection.execute("begin; insert into kept values (1); prepare transaction 'it''s'")
    try:
        with _session(database) as session:
            assert locks.blockers_of(session, [Lock(SUX, "kept", "public")]) == []
            assert locks.blockers_of(session, [Lock(AX, "other", "public")]) == []
            (found,) = locks.blockers_of(session, [Lock(AX, "kept", "public")])
            (older,) = locks.older_than(session, 0)
            assert locks.older_than(session, 3600) == []
    finally:
        database.run("rollback prepared 'it''s'")
    for each in (found, older):
        assert "`commit prepared 'it''s'` or `rollback prepared 'it''s'` ends it" in str(each)


# -- waits ---------------------------------------------------------------------------------------------------------------


def test_waits_grow_up_to_a_limit() -> None:
    found = list(locks.waits(30, first=0.2, longest=15))
    assert len(found) == 29
    for position, wait in enumerate(found):
        middle = min(0.2 * 1.5**position, 15)
        assert 0.7 * middle <= wait <= 1.3 * middle


def test_waits_differ_between_runners() -> None:
    assert list(locks.waits(5, first=1, longest=9)) != list(locks.waits(5, first=1, longest=9))


def test_one_attempt_has_no_wait() -> None:
    assert list(locks.waits(1, first=1, longest=9)) == []


@contextmanager
def _session(database: Database, application: str = "") -> Iterator[Session]:
    with database.engine(connect_args={"application_name": application}).connect() as connection:
        session = Session(connection)
        with session.autocommit():
            yield session
