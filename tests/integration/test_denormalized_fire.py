"""Columns that triggers keep are what a recomputation from scratch gives, after random statements of four writers, with kills.

Twice: one statement at a time, so that a failure shrinks to a few steps, and all at once, by PGOPT_FIRE_SEED. `make test-fire` does
10,000 statements for each kind of key.
"""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from psycopg.pq import TransactionStatus

from tests.databases import wait_until
from tests.integration.fire import KINDS, REFUSED, Gun, Kind, shoot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Database

WRITERS = 4
FOLDERS = 2
QUICK = "-c deadlock_timeout=20ms"
KILLS = 0.03
FOLD = "call pgopt.fold(most => 3)"
SHORT = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
LOST = psycopg.OperationalError
"""What a session sees that was killed."""


def isolations(kind: Kind) -> list[str]:
    """At which levels transactions may change comments beside others of another level: see the guide."""
    return (
        ["read committed", "read committed", "repeatable read", "serializable"]
        if kind.referring or kind.deferred
        else ["read committed"]
    )


# -- one statement at a time ---------------------------------------------------------------------------------------------


@dataclass
class Session:
    """A session that runs one statement in a thread of its own, which may have to wait for others."""

    database: Database
    connection: psycopg.Connection[Any] = field(init=False)
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    running: Future[None] | None = None
    level: str = ""
    """Of the transaction, while there is one."""

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        self.connection = self.database.connect(options=QUICK)

    @property
    def status(self) -> TransactionStatus:
        return self.connection.info.transaction_status

    @property
    def old(self) -> bool:
        """Whether its snapshot is one of the transaction."""
        return self.status is TransactionStatus.INTRANS and self.level != "read committed"

    def begin(self, statement: str) -> None:
        """Begin to run something."""
        self.running = self.thread.submit(shoot, self.connection, statement)

    def settle(self, monitor: psycopg.Connection[Any]) -> bool:
        """Wait until the statement has ended, or waits for somebody, and tell whether the session is free."""
        if self.running is None:
            return True
        pid = self.connection.info.backend_pid
        while not wait([self.running], 0.005).done:
            if monitor.execute("select cardinality(pg_blocking_pids(%s)) > 0", [pid]).fetchall()[0][0]:
                return False
        running, self.running = self.running, None
        try:
            running.result()
        except REFUSED:
            if self.status is TransactionStatus.INERROR:
                self.connection.execute("rollback")
        except LOST:
            self.connection.close()
            self.connect()
        return True

    def close(self) -> None:
        self.connection.close()
        self.thread.shutdown()


class Interleaved(RuleBasedStateMachine):
    """Four sessions, of which one goes on at a time; after each step, what is committed is right."""

    database: Database
    kind: Kind

    @initialize()
    def clear(self) -> None:
        self.monitor = self.database.connect()
        self.kind.fill(self.monitor)
        self.sessions = [Session(self.database) for _ in range(WRITERS)]

    @rule(number=st.integers(0, WRITERS - 1), chance=st.randoms(use_true_random=False))
    def statement(self, number: int, chance: random.Random) -> None:
        # what is drawn depends on nothing that the server says
        session, gun = self.sessions[number], Gun(self.kind, chance)
        statements = {old: gun.statement(old=old) for old in (False, True)}
        if self._free(session):
            session.begin(statements[session.old and not self.kind.deferred])
            self._check()

    @rule(number=st.integers(0, WRITERS - 1), which=st.integers(0, 3))
    def begin(self, number: int, which: int) -> None:
        session, levels = self.sessions[number], isolations(self.kind)
        if self._free(session) and session.status is TransactionStatus.IDLE:
            level = levels[which % len(levels)]
            session.connection.execute(f"begin isolation level {level}")
            session.connection.execute("select 1; savepoint here")
            session.level = level

    @rule(
        number=st.integers(0, WRITERS - 1),
        words=st.sampled_from(["commit", "commit", "rollback", "rollback to here", "savepoint here"]),
    )
    def end(self, number: int, words: str) -> None:
        session = self.sessions[number]
        if self._free(session) and session.status is TransactionStatus.INTRANS:
            session.begin(words)
            self._check()

    @rule(number=st.integers(0, WRITERS - 1))
    def fold(self, number: int) -> None:
        session = self.sessions[number]
        if self._free(session) and session.status is TransactionStatus.IDLE:
            session.begin(FOLD)
            self._check()

    @rule(number=st.integers(0, WRITERS - 1))
    def kill(self, number: int) -> None:
        session = self.sessions[number]
        terminate(self.monitor, session.connection.info.backend_pid)
        if session.running is None:
            session.begin("select")
        assert session.settle(self.monitor)
        self._check()

    def _free(self, session: Session) -> bool:
        return session.settle(self.monitor)

    def _check(self) -> None:
        for session in self.sessions:
            session.settle(self.monitor)
        assert wrong(self.kind, self.monitor) == []

    def teardown(self) -> None:
        waiting = list(self.sessions)
        while waiting:
            for session in [each for each in waiting if self._free(each)]:
                session.connection.execute("commit")
                waiting.remove(session)
        self._check()
        self.monitor.execute(FOLD)
        assert self.monitor.execute(self.kind.wrong_at_last).fetchall() == []
        for session in self.sessions:
            session.close()
        self.monitor.close()


def wrong(kind: Kind, monitor: psycopg.Connection[Any]) -> list[Any]:
    """Give what is committed and not as it should be, whatever is not committed; a TRUNCATE that is not hides it."""
    with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected), monitor.transaction():
        monitor.execute("set local lock_timeout = '50ms'")
        return monitor.execute(kind.wrong).fetchall()
    return []


def terminate(monitor: psycopg.Connection[Any], pid: int) -> None:
    """End a session of somebody else, and wait until it is gone."""
    monitor.execute("select pg_terminate_backend(%s)", [pid])
    gone = "select not exists (select from pg_stat_get_activity(%s))"
    wait_until("its end", lambda: monitor.execute(gone, [pid]).fetchall()[0][0])


def interleaved(of: Kind, on: Database) -> type[Interleaved]:
    """Bind the machine to a database."""

    class Bound(Interleaved):
        database, kind = on, of

    return Bound


@pytest.mark.parametrize("kind", [*KINDS[:2], KINDS[6], KINDS[8], KINDS[10]], ids=str)
def test_after_each_step_of_four_sessions_what_is_committed_is_right(database: Database, kind: Kind) -> None:
    kind.prepare(database)
    run_state_machine_as_test(
        interleaved(kind, database), settings=settings(SHORT, max_examples=5, stateful_step_count=30)
    )


@pytest.mark.fire
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_after_each_of_thousands_of_steps_what_is_committed_is_right(database: Database, kind: Kind) -> None:
    kind.prepare(database)
    run_state_machine_as_test(
        interleaved(kind, database),
        settings=settings(SHORT, derandomize=False, max_examples=40, stateful_step_count=60),
    )


# -- all at once -----------------------------------------------------------------------------------------------------------


@dataclass
class Shooter:
    """A writer that runs statements made up from a seed, in transactions of some, and now and then kills another writer."""

    database: Database
    kind: Kind
    number: int
    seed: str
    statements: int
    pids: dict[int, int]
    level: str | None = None
    done: int = 0
    refused: int = 0
    killed: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} {self.number}")
        self.gun = Gun(self.kind, self.chance)

    def run(self) -> None:
        """Run them all."""
        while self.done < self.statements:
            try:
                with self.database.connect(options=QUICK) as connection:
                    self.pids[self.number] = connection.info.backend_pid
                    while self.done < self.statements:
                        self._transaction(connection)
            except LOST:
                self.killed += 1

    def _transaction(self, connection: psycopg.Connection[Any]) -> None:
        level = self.level or self.chance.choice(isolations(self.kind))
        try:
            with connection.transaction(force_rollback=self.chance.random() < 0.1):
                connection.execute(f"set transaction isolation level {level}")
                for _ in range(self.chance.randint(1, 5)):
                    self._part(
                        connection, old=level != "read committed" and self.level is None and not self.kind.deferred
                    )
        except REFUSED:
            self.refused += 1
        if self.chance.random() < KILLS:
            connection.execute(
                "select pg_terminate_backend(%s)", [self.pids.get(self.chance.randint(1, FOLDERS + WRITERS), 0)]
            )

    def _part(self, connection: psycopg.Connection[Any], *, old: bool) -> None:
        with connection.transaction(force_rollback=self.chance.random() < 0.1):
            for _ in range(self.chance.randint(1, 2)):
                self.done += 1
                shoot(connection, self.gun.statement(old=old))


@dataclass
class Folder:
    """A runner of the job, as often as it can, while others write."""

    database: Database
    number: int
    pids: dict[int, int]
    over: threading.Event
    done: int = 0

    def run(self) -> None:
        """Go on until it is over."""
        while not self.over.is_set():
            with suppress(LOST), self.database.connect(options=QUICK) as connection:
                self.pids[self.number] = connection.info.backend_pid
                while not self.over.is_set():
                    with suppress(*REFUSED):
                        connection.execute(FOLD)
                        self.done += 1


@contextmanager
def folding(database: Database, kind: Kind, pids: dict[int, int]) -> Iterator[None]:
    """Have what is deferred folded in meanwhile."""
    over = threading.Event()
    folders = [Folder(database, WRITERS + n, pids, over) for n in range(1, FOLDERS + 1) if kind.deferred]
    with ThreadPoolExecutor(FOLDERS) as threads:
        running = [threads.submit(each.run) for each in folders]
        try:
            yield
        finally:
            over.set()
        for each in running:
            each.result()
    assert all(folder.done for folder in folders)


def storm(database: Database, kind: Kind, seed: str, statements: int, level: str | None = None) -> list[Shooter]:
    """Let all writers shoot at once, while what is committed is looked at, and give them."""
    pids: dict[int, int] = {}
    writers = [Shooter(database, kind, n, seed, statements // WRITERS, pids, level) for n in range(1, WRITERS + 1)]
    with (
        ThreadPoolExecutor(WRITERS) as threads,
        database.connect() as monitor,
        folding(database, kind, pids),
    ):
        kind.fill(monitor)
        running = [threads.submit(writer.run) for writer in writers]
        while wait(running, 0.05).not_done:
            assert (found := wrong(kind, monitor)) == [], f"PGOPT_FIRE_SEED={seed}: {found}"
        for each in running:
            each.result()
        assert (found := monitor.execute(kind.wrong).fetchall()) == [], f"PGOPT_FIRE_SEED={seed}: {found}"
    with database.connect() as monitor:
        monitor.execute(FOLD)
        assert (found := monitor.execute(kind.wrong_at_last).fetchall()) == [], f"PGOPT_FIRE_SEED={seed}: {found}"
    return writers


@pytest.mark.parametrize("kind", [*KINDS[2:4], KINDS[7], KINDS[9], KINDS[12]], ids=str)
def test_what_four_writers_leave_is_right(database: Database, kind: Kind) -> None:
    kind.prepare(database)
    # some are killed, as chance has it
    storm(database, kind, "short", 400)


@pytest.mark.fire
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("level", [None, "serializable"], ids=["levels mixed", "serializable"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_four_writers_leave_after_ten_thousand_statements_is_right(
    database: Database, kind: Kind, level: str | None
) -> None:
    kind.prepare(database)
    seed = os.environ.get("PGOPT_FIRE_SEED") or str(random.SystemRandom().randrange(10**6))
    writers = storm(database, kind, seed, 10_000, level)
    assert sum(writer.done for writer in writers) >= 10_000
    assert min(writer.killed for writer in writers) > 0
