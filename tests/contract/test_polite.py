"""Promise 4: steps take the locks that they say, work under none that others wait for, and give way to everybody."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from pgopt.errors import LockNotAcquired
from pgopt.operations import CreateIndexConcurrently, DropIndexConcurrently, RefreshMaterializedView
from pgopt.plan import events
from pgopt.plan.journal import Journal
from pgopt.plan.online import OnlineRunner
from pgopt.plan.settings import Settings
from pgopt.plan.step import BatchStep, DrainStep, Plan, Step
from pgopt.server.catalog import Catalog
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, render, sql, verbatim
from pgopt.server.session import Session
from pgopt.server.trace import Tracer
from tests.databases import IMPATIENT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg.sql import Composable
    from sqlalchemy import Engine

    from pgopt.plan.step import AnyStep
    from pgopt.server.trace import Trace
    from tests.contract.examples import Example
    from tests.databases import Database

AX, SUX = Mode.ACCESS_EXCLUSIVE, Mode.SHARE_UPDATE_EXCLUSIVE


# -- all examples: what the tracer sees ----------------------------------------------------------------------------------


def test_steps_take_the_locks_that_they_say_and_do_no_work_under_strong_ones(
    prepared: Database, example: Example, engine: Engine
) -> None:
    looks = Looks(prepared)
    patience = {"concurrent_timeout": 30}
    prepared.perform(example.operation, engine=engine, settings=patience, pgopt_tracer=looks)
    for operation in example.inverse if example.reversible else ():
        looks.known = looks.relations()
        prepared.perform(operation, engine=engine, settings=patience, pgopt_tracer=looks)
    assert looks.seen, "nothing was done"
    for step, trace, known in looks.seen:
        # what the operation has made, and what pgopt keeps for itself, is in nobody's way
        seen, said = (
            frozenset(lock for lock in locks if lock.schema != "pgopt" and (lock.schema, lock.name) in known)
            for locks in (trace.locks, step.locks)
        )
        allowed = exempt(example)
        # with the view its indexes are locked
        held = {lock for lock in seen - allowed if not (allowed and lock.is_index)}
        assert not replace(trace, locks=frozenset(held), scanned=trace.scanned - OWN).blocking, f"{step.label}: {trace}"
        if isinstance(step, DrainStep):
            # where nothing is waiting, nothing is locked
            assert seen <= said, f"{step.label}: {trace}"
        elif isinstance(step, BatchStep) or step.transaction:
            assert seen == said, f"{step.label}: {trace}"
        else:
            assert _covered(seen, step), f"{step.label}: {trace}"
            tables = {lock for lock in said if not lock.is_index}
            assert {lock for lock in seen if not lock.is_index} == tables, f"{step.label}: {trace}"


# what pgopt knows of materialized views, and of what was there: small, and read by whatever way
OWN = {f"pgopt.{name}" for name in ("materialized", "refresh", "source", "dirty", "undo")}


def exempt(example: Example) -> frozenset[Lock]:
    """The locks of a refresh on the view itself: PostgreSQL has no other way, and the operation says so."""
    if not isinstance(operation := example.operation, RefreshMaterializedView):
        return frozenset()
    return frozenset(Lock(mode, operation.name, operation.schema or "public") for mode in (Mode.EXCLUSIVE, AX))


class Looks:
    """Traces each step: one in a transaction by doing it twice, the first time without LOCK TABLE and for nothing."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.seen: list[tuple[AnyStep, Trace, set[tuple[str | None, str]]]] = []
        self.known = self.relations()

    def relations(self) -> set[tuple[str | None, str]]:
        """All relations that are there now."""
        return set(
            self.database.rows(
                "select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            )
        )

    @contextmanager
    def __call__(self, session: Session, step: AnyStep) -> Iterator[None]:
        if not isinstance(step, Step):
            # a session that knows the partitions already does not look at their parents again
            with self.database.engine().connect() as connection:
                statement = step.statement(verbatim("true")) if isinstance(step, BatchStep) else step.take(1000)
                self._try(Session(connection), step, [statement])
            yield
        elif step.transaction:
            session.run("savepoint look")
            self._try(session, step, step.compose(Catalog(session)))
            session.run("rollback to look")
            yield
        else:
            tracer = Tracer(session)
            with held_up(self.database, tracer, step), tracer.from_outside():
                yield
            self.seen.append((step, tracer.trace(), self.known))

    def _try(self, session: Session, step: AnyStep, statements: Iterable[Composable]) -> None:
        tracer = Tracer(session)
        for statement in statements:
            session.run(statement)
        self.seen.append((step, tracer.trace(), self.known))


@contextmanager
def held_up(database: Database, tracer: Tracer, step: Step) -> Iterator[None]:
    """Use each of a step's tables in a transaction, until its lock there was seen."""
    ended = threading.Event()
    with ExitStack() as stack:
        users = {
            (lock.schema, lock.name): stack.enter_context(database.connect())
            for lock in step.locks
            if not lock.is_index
        }
        for name, connection in users.items():
            _use(connection, render(ident(*name)))
        onlooker = stack.enter_context(database.connect())
        thread = threading.Thread(target=_let_go, args=(users, tracer, onlooker, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _use(connection: psycopg.Connection, table: str) -> None:
    # a transaction that has written is waited for before a build; a materialized view cannot be locked so, only be read
    connection.execute("begin isolation level repeatable read")
    try:
        connection.execute(f"lock table only {table} in row exclusive mode")
    except psycopg.errors.WrongObjectType:
        connection.execute("rollback")
        connection.execute("begin isolation level repeatable read")
        connection.execute(f"select from {table} limit 0")


def _let_go(
    users: dict[tuple[str | None, str], psycopg.Connection],
    tracer: Tracer,
    onlooker: psycopg.Connection,
    ended: threading.Event,
) -> None:
    waits = "select unnest(pg_blocking_pids(pid)) from pg_stat_activity where wait_event = 'virtualxid'"
    # DETACH CONCURRENTLY waits for the end of transactions without a lock, and comes back for its locks
    since: dict[tuple[str | None, str], int] = {}
    while users and not ended.wait(0.01):
        seen = {(lock.schema, lock.name) for lock in tracer.locks if lock.mode >= SUX}
        pids = {pid for (pid,) in onlooker.execute(waits)}
        for name, connection in list(users.items()):
            if connection.info.backend_pid in pids:
                since.setdefault(name, tracer.looks)
            # a lock that is held while it waits has been looked at by then
            if name in seen or tracer.looks > since.get(name, tracer.looks) + 3:
                users.pop(name).close()


def _covered(seen: frozenset[Lock], step: Step) -> bool:
    said = {(lock.schema, lock.name): lock.mode for lock in step.locks}
    return all((lock.schema, lock.name) in said and lock.mode <= said[lock.schema, lock.name] for lock in seen)


# -- one short step, and somebody in the way -----------------------------------------------------------------------------

TABLES = """
create table t (id int primary key, n int);
insert into t select g, g from generate_series(1, 100) g;
create table u (id int primary key);
create table elsewhere ();
"""
ADD = Step("add a note", sql("alter table t add note text"), locks=[Lock(AX, "t", "public")])
BOTH = Step(
    "add two notes",
    [sql("alter table u add note text"), sql("alter table t add note text")],
    locks=[Lock(AX, "u", "public"), Lock(AX, "t", "public")],
)
UNSAID = Step("add two notes", BOTH.sql)
INDEX = CreateIndexConcurrently("t_n", "t", ["n"])


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """An engine that says at the end whether somebody else's session was ended through it."""
    engine = database.engine()
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: sent.append(statement))
    yield engine
    assert sent
    for word in ("pg_cancel_backend", "pg_terminate_backend"):
        # a function that is made is not called
        assert not [statement for statement in sent if word in statement and "create function" not in statement]


@pytest.fixture
def tables(database: Database) -> Database:
    """A few tables."""
    database.run(TABLES)
    return database


class Run(OnlineRunner):
    """The runner, on a connection of its own, with what it told."""

    told: list[events.Event]

    def carry_out(self, step: Step) -> None:
        self.run(Plan("test", [step]))

    def retries(self) -> list[events.Retrying]:
        return [told for told in self.told if isinstance(told, events.Retrying)]


@contextmanager
def run_on(engine: Engine, **settings: Any) -> Iterator[Run]:
    told: list[events.Event] = []
    with engine.connect() as connection:
        session = Session(connection)
        with session.autocommit():
            patience = Settings.of(None, {**IMPATIENT, **settings})
            run = Run(session, patience, Journal(session, "alembic_version", None), told.append)
            run.told = told
            yield run


@contextmanager
def in_the_way(
    database: Database, statement: str = "select * from t", isolation: str = "read committed"
) -> Iterator[Any]:
    """A transaction that somebody forgot."""
    with database.connect(application_name="reporting") as connection:
        connection.execute(f"begin isolation level {isolation}")
        connection.execute(statement)
        yield connection


def test_the_queue_behind_a_short_step_drains_while_the_blocker_holds_its_lock(
    tables: Database, engine: Engine
) -> None:
    with (
        in_the_way(tables) as blocker,
        run_on(engine, lock_attempts=500, lock_timeout=0.5, lock_wait=0.2) as run,
        ThreadPoolExecutor() as threads,
    ):
        pid = run.session.pid
        altering = threads.submit(run.carry_out, ADD)
        try:
            for statement in ("select n from t where id = 1", "update t set n = 0 where id = 1"):
                wait_until("somebody queues behind us, and gets through", lambda s=statement: _queued(tables, s, pid))
            assert run.retries()
            assert {found.pid for told in run.retries() for found in told.blockers} >= {blocker.info.backend_pid}
            assert not altering.done()
        finally:
            blocker.execute("rollback")
        altering.result(60)
    assert _columns(tables) == ["id", "n", "note"]


def _queued(database: Database, statement: str, behind: int) -> bool:
    """Run a statement, and tell whether it stood behind a session on its way."""
    wait_until(
        "the step waits",
        lambda: database.value(f"select wait_event_type = 'Lock' from pg_stat_activity where pid = {behind}"),
    )
    with database.connect(options="-c statement_timeout=20s") as connection, ThreadPoolExecutor() as threads:
        running = threads.submit(connection.execute, statement)
        queued = False
        while not running.done():
            queued = queued or database.value(f"select {behind} = any(pg_blocking_pids({connection.info.backend_pid}))")
        running.result()
    return queued


def test_readers_and_writers_pass_while_an_index_waits_for_an_old_transaction(tables: Database, engine: Engine) -> None:
    with in_the_way(tables, "update t set n = 0 where id = 1") as blocker, ThreadPoolExecutor() as threads:
        building = threads.submit(tables.perform, INDEX, engine=engine)
        try:
            wait_until("the build waits", lambda: _waiting_build(tables))
            with tables.connect(options="-c statement_timeout=20s") as other:
                other.execute("insert into t values (200, 1)")
                other.execute("update t set n = 7 where id = 2")
                other.execute("delete from t where id = 3")
                assert other.execute("select count(*) from t").fetchone() == (100,)
            assert _waiting_build(tables), "it still waits"
        finally:
            blocker.execute("rollback")
        building.result(60)
    assert tables.value("select indisvalid from pg_index where indexrelid = 't_n'::regclass")


def _waiting_build(database: Database) -> bool:
    return bool(
        database.value(
            "select p.phase ~ '^waiting' and a.wait_event_type = 'Lock' from pg_stat_progress_create_index p join"
            " pg_stat_activity a using (pid) where p.datname = current_database()"
        )
    )


@pytest.mark.parametrize("step", [ADD, BOTH, UNSAID], ids=["one lock", "two locks", "a lock that comes late"])
def test_exhausted_attempts_name_who_stood_in_the_way_and_change_nothing(
    tables: Database, engine: Engine, step: Step
) -> None:
    before = tables.dump()
    with in_the_way(tables, "select *\n  from t\n  -- a long report") as blocker, run_on(engine) as run:
        with pytest.raises(LockNotAcquired) as raised:
            run.carry_out(step)
        first, *lines = str(raised.value).splitlines()
        assert first.startswith(f"could not {step.label}: ")
        assert "in 3 attempts; nothing was changed by this step" in first
        assert len(run.retries()) == 2
        if step.locks:
            (line,) = lines
            pid, user = blocker.info.backend_pid, blocker.info.user
            assert line.startswith(f"  pid {pid} {user} (reporting), idle in transaction, transaction open for ")
            assert line.endswith(" s: select *")
            assert "ACCESS EXCLUSIVE on public.t" in first
        assert tables.dump() == before
        assert not run.session.rows("select from pg_locks where pid = pg_backend_pid() and relation = 'u'::regclass")
        blocker.execute("rollback")
        run.carry_out(step)
    assert "note" in _columns(tables)


def test_an_operation_says_in_which_it_was_that_it_gave_up(tables: Database) -> None:
    tables.run("create index t_n on t (n)")
    drop = DropIndexConcurrently("t_n", "t", ["n"])
    with (
        in_the_way(tables, isolation="repeatable read"),
        pytest.raises(
            LockNotAcquired,
            match=r"^drop_index_concurrently t_n on t: could not drop t_n.* s for older transactions; t_n is INVALID, and",
        ),
    ):
        tables.perform(drop, settings={"concurrent_timeout": 0.3})
    assert not tables.value("select indisvalid from pg_index where indexrelid = 't_n'::regclass")
    tables.perform(drop)
    assert tables.value("select to_regclass('t_n')") is None


LIMITS = (
    "select current_setting('statement_timeout')::interval as whole, current_setting('lock_timeout')::interval as each"
)


def test_the_time_holds_for_all_locks_of_a_step_together(tables: Database, engine: Engine) -> None:
    tables.run(f"create index t_n on t (n); create table given as {LIMITS} limit 0")
    step = Step(
        "take many",
        [
            sql(f"insert into given {LIMITS}"),
            sql("do 'begin perform pg_sleep(0.05); end'"),
            sql(f"insert into given {LIMITS}"),
        ],
        locks=[Lock(AX, "u", "public"), Lock(SUX, "t", "public"), Lock(SUX, "t_n", "public", is_index=True)],
    )
    left: list[float] = []

    def note(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("lock table"):
            cursor.execute(f"select whole from ({LIMITS}) as given")
            left.append(cursor.fetchone()[0].total_seconds())
            # as if the lock had come after a while
            cursor.execute("select pg_sleep(0.05)")

    event.listen(engine, "before_cursor_execute", note)
    with run_on(engine, lock_timeout=20, lock_attempts=1) as run:
        run.carry_out(step)
    at_work = tables.rows("select whole, each from given order by each desc")
    assert [whole.total_seconds() for whole, _ in at_work] == [0, 0], "work is not cut"
    assert len(left) == 2
    left += [each.total_seconds() for _, each in at_work]
    assert left[0] <= 1, "who holds one lock waits for others no longer than deadlock_timeout"
    assert all(later < before - 0.04 for before, later in pairwise(left)), left


@pytest.mark.parametrize("held", ["access share", "share update exclusive"])
def test_somebody_who_cancels_a_step_is_obeyed(tables: Database, engine: Engine, held: str) -> None:
    with (
        tables.connect() as other,
        run_on(engine, lock_timeout=60, lock_attempts=1) as run,
        ThreadPoolExecutor() as threads,
    ):
        # the latter as VACUUM does, for which is waited before
        other.execute(f"begin; lock table t in {held} mode")
        pid = run.session.pid
        running = threads.submit(run.carry_out, BOTH)
        wait_until(
            "it waits", lambda: tables.value(f"select wait_event_type = 'Lock' from pg_stat_activity where pid = {pid}")
        )
        tables.run(f"select pg_cancel_backend({pid})")
        with pytest.raises(DBAPIError, match="user request"):
            running.result(60)
        assert not run.retries()


# -- deadlocks, and autovacuum -------------------------------------------------------------------------------------------


def test_a_deadlock_is_tried_again(tables: Database, engine: Engine) -> None:
    with (
        tables.connect() as other,
        ThreadPoolExecutor() as threads,
        run_on(engine, lock_timeout=20, lock_attempts=9) as run,
    ):
        run.session.run("select pg_advisory_lock(1)", "set deadlock_timeout = '10ms'")
        other.execute("set deadlock_timeout = '1h'")
        other.execute("begin; lock table t")
        waiting = threads.submit(other.execute, "select pg_advisory_lock(1)")
        pid = other.info.backend_pid
        wait_until(
            "the other waits for us", lambda: tables.value(f"select {run.session.pid} = any(pg_blocking_pids({pid}))")
        )

        def give_way(told: events.Event) -> None:
            run.told.append(told)
            if isinstance(told, events.Retrying):
                run.session.run("select pg_advisory_unlock(1)")
                waiting.result(20)
                other.execute("commit")

        run.report = give_way
        run.carry_out(ADD)
        assert len(run.retries()) == 1
    deadlocks = "select deadlocks = 1 from pg_stat_database where datname = current_database()"
    wait_until("the server has counted it", lambda: tables.value(deadlocks))
    assert "note" in _columns(tables)


@pytest.mark.parametrize("deadlock_timeout", [0.1, 1, 4])
@pytest.mark.parametrize("attempts", [1, 3, 30, 5000])
def test_one_attempt_is_longer_than_deadlock_timeout(
    tables: Database, engine: Engine, deadlock_timeout: float, attempts: int
) -> None:
    with run_on(engine, lock_attempts=attempts, lock_timeout=0.5) as run:
        run.session.run(f"set deadlock_timeout = '{deadlock_timeout}s'")
        ladder = run._ladder
    assert len(ladder) == attempts
    assert ladder == sorted(ladder)
    assert ladder[-1] > deadlock_timeout
    assert max(ladder[:-1], default=0) <= 0.5
    assert min(ladder) > 0, "0 would be no timeout at all"


def test_an_autovacuum_gives_way(tables: Database, engine: Engine) -> None:
    tables.run("alter system set autovacuum_naptime = '1s'; ")
    tables.run("select pg_reload_conf()")
    try:
        # so slow that it would take an hour
        tables.run(
            "insert into t select g, g from generate_series(1000, 30000) g;"
            "alter table t set (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,"
            " autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0)"
        )
        tables.run("update t set n = n + 1")
        at_work = (
            "select count(*) from pg_stat_progress_vacuum where relid = 't'::regclass and datname = current_database()"
        )
        wait_until("autovacuum works on the table", lambda: tables.value(at_work), seconds=60)
        # or another comes as soon as this one has given way
        tables.run("alter system reset autovacuum_naptime")
        tables.run("select pg_reload_conf()")
        with run_on(engine) as run:
            run.carry_out(ADD)
            assert not run.retries(), "readers and writers have waited behind a lock that could not be had"
        assert "note" in _columns(tables)
    finally:
        tables.run("alter system reset autovacuum_naptime")
        tables.run("select pg_reload_conf()")


# -- settings ------------------------------------------------------------------------------------------------------------

BROKEN = Step("break", [sql("alter table t add x int"), sql("select 1 / 0")], locks=ADD.locks)
SLOW = Step("build", sql("create index concurrently t_n on t (n)"), locks=[Lock(SUX, "t", "public")], transaction=False)
TWICE = Step("build", sql("create unique index concurrently t_u on t ((n % 2))"), locks=SLOW.locks, transaction=False)


WRITTEN = "update t set n = 0 where id = 1"


@pytest.mark.parametrize("by", ["session", "role"])
@pytest.mark.parametrize(
    ("step", "error", "blocked"),
    [
        (ADD, None, ""),
        (BOTH, None, ""),
        (SLOW, None, ""),
        (BROKEN, DBAPIError, ""),
        (TWICE, DBAPIError, ""),
        (ADD, LockNotAcquired, WRITTEN),
        (BOTH, LockNotAcquired, WRITTEN),
        (SLOW, LockNotAcquired, WRITTEN),
    ],
    ids=[
        "short",
        "many locks",
        "long",
        "short, failed",
        "long, failed",
        "short, exhausted",
        "many, exhausted",
        "long, cut",
    ],
)
def test_settings_are_afterwards_what_they_were(
    tables: Database, engine: Engine, major: int, by: str, step: Step, error: type[Exception] | None, blocked: str
) -> None:
    theirs = {"lock_timeout": "7s", "statement_timeout": "41s", "idle_in_transaction_session_timeout": "43s"}
    if major >= 17:
        theirs["transaction_timeout"] = "47s"
    if by == "role":
        for name, value in theirs.items():
            tables.run(f"alter role current_user in database {tables.name} set {name} = '{value}'")
    with ExitStack() as stack:
        if blocked:
            stack.enter_context(in_the_way(tables, blocked))
        run = stack.enter_context(run_on(engine, concurrent_timeout=0.3))
        if by == "session":
            run.session.run(*(f"set {name} = '{value}'" for name, value in theirs.items()))
        if error is None:
            run.carry_out(step)
        else:
            with pytest.raises(error):
                run.carry_out(step)
        assert {name: run.session.value(f"show {name}") for name in theirs} == theirs
        if by == "role":
            run.session.run("reset all")
            assert {name: run.session.value(f"show {name}") for name in theirs} == theirs


# -- steps that wait long ------------------------------------------------------------------------------------------------


def test_a_build_outlives_the_timeouts_of_the_role(tables: Database, engine: Engine) -> None:
    for name in ("lock_timeout", "statement_timeout"):
        tables.run(f"alter role current_user in database {tables.name} set {name} = '2s'")
    with in_the_way(tables, isolation="repeatable read") as blocker, ThreadPoolExecutor() as threads:
        building = threads.submit(tables.perform, INDEX, engine=engine)
        longer = (
            "select exists (select from pg_stat_activity a join pg_stat_progress_create_index p using (pid)"
            " where a.query_start < clock_timestamp() - interval '3s')"
        )
        try:
            wait_until("it has waited longer than 2 s", lambda: building.done() or tables.value(longer))
            assert not building.done()
        finally:
            blocker.execute("rollback")
        building.result(60)
    assert tables.value("select indisvalid from pg_index where indexrelid = 't_n'::regclass")


@pytest.mark.parametrize("touching", ["elsewhere", "t"])
def test_a_build_that_is_cut_says_who_stood_in_the_way_and_leaves_nothing_that_stays(
    tables: Database, engine: Engine, touching: str
) -> None:
    before = tables.dump()
    with in_the_way(tables, f"select * from {touching}", "repeatable read") as blocker:
        with pytest.raises(LockNotAcquired) as raised:
            tables.perform(INDEX, engine=engine, settings={"concurrent_timeout": 0.3})
        first, *lines = str(raised.value).splitlines()
        assert re.match(
            r"create_index_concurrently t_n on t: could not build t_n on public.t: it waited .* s for older ", first
        )
        assert any(
            line.startswith(f"  pid {blocker.info.backend_pid} {blocker.info.user} (reporting), ") for line in lines
        )
        if touching == "t":
            # nothing can be dropped from a table that somebody reads
            assert re.search(
                r"; what it left behind could not be removed now, the next run will remove it \(could not drop t_n on public\.t: it waited [\d.]+ s"
                r" for older transactions\); in its way:$",
                first,
            )
        else:
            assert "left behind" not in first
            assert tables.dump() == before
    tables.perform(INDEX, engine=engine)
    assert tables.rows(
        "select indexrelid::regclass::text from pg_index where indrelid = 't'::regclass and indisvalid order by 1"
    ) == [("t_n",), ("t_pkey",)]
    assert not tables.value("select count(*) from pg_index where not indisvalid")


def test_a_build_tells_whom_it_waits_for(tables: Database, engine: Engine) -> None:
    told: list[events.Event] = []
    with in_the_way(tables, isolation="repeatable read") as blocker, ThreadPoolExecutor() as threads:
        pid = blocker.info.backend_pid
        with tables.migration(engine, settings={"watch_after": 0}, pgopt_report=told.append) as context:
            building = threads.submit(_invoke, context, INDEX)
            try:
                wait_until("it names the session", lambda: building.done() or _named(told, pid))
                assert not building.done()
            finally:
                blocker.execute("rollback")
            building.result(60)
    progress = _named(told, pid)
    assert progress is not None
    assert progress.phase.startswith("waiting")
    assert progress.label == "build t_n on public.t"


def test_only_a_long_build_begins_a_thread_of_its_own(
    tables: Database, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    begin = threading.Thread.start

    def note_and_begin(thread: threading.Thread) -> None:
        begun.append(thread.name)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", note_and_begin)
    tables.perform(INDEX, INDEX.reverse(), engine=engine)
    assert "pgopt watcher" not in begun
    with (
        in_the_way(tables, isolation="repeatable read") as blocker,
        ThreadPoolExecutor() as threads,
        tables.migration(engine, settings={"watch_after": 0.2}) as context,
    ):
        building = threads.submit(_invoke, context, INDEX)
        try:
            wait_until("somebody watches", lambda: building.done() or "pgopt watcher" in begun)
            assert not building.done()
        finally:
            blocker.execute("rollback")
        building.result(60)
    assert not _at_work("pgopt watcher")
    tables.perform(INDEX.reverse(), engine=engine)
    wait_until("nobody looks out", lambda: not _at_work("pgopt lookout"))


def _at_work(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


def _invoke(context: Any, operation: Any) -> None:
    from alembic.operations import Operations

    with context.begin_transaction(_per_migration=True):
        Operations(context).invoke(operation)


def _named(told: list[events.Event], pid: int) -> events.StepProgress | None:
    for each in told:
        if isinstance(each, events.StepProgress) and pid in [found.pid for found in each.blockers]:
            return each
    return None


def test_what_a_step_asks_under_its_locks_sees_what_it_has_said(tables: Database, engine: Engine) -> None:
    seen: list[Any] = []
    columns = "select attname::text from pg_attribute where attrelid = 't'::regclass and attnum > 2"

    def statements(db: Catalog) -> Iterator[Composable]:
        for name in ("one", "two : % 'three'"):
            yield sql("alter table t add {} text", ident(name))
            yield sql("alter table u add {} text", ident(name))
            seen.append([found for (found,) in db.session.rows(columns)])
        yield sql("comment on table t is 'last'")

    with run_on(engine) as run:
        run.carry_out(replace(BOTH, sql=statements))
    assert seen == [["one"], ["one", "two : % 'three'"]]
    assert tables.value("select obj_description('t'::regclass)") == "last"


def test_a_lock_that_comes_late_among_several_is_not_waited_for_much_longer(tables: Database, engine: Engine) -> None:
    before = tables.dump()
    late = replace(BOTH, sql=[*BOTH.statements, sql("alter table elsewhere add note text")])
    with (
        in_the_way(tables, "lock table elsewhere in share mode"),
        run_on(engine, lock_attempts=2, lock_timeout=0.1, lock_wait=0.1) as run,
        pytest.raises(LockNotAcquired),
    ):
        run.carry_out(late)
    assert tables.dump() == before


def _columns(database: Database) -> list[str]:
    rows = database.rows(
        "select attname::text from pg_attribute where attrelid = 't'::regclass and attnum > 0 order by attnum"
    )
    return [name for (name,) in rows]
