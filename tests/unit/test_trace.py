"""The tracer against statements whose locks and work are known."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from pgopt.server.locks import Lock, Mode
from pgopt.server.session import Session
from pgopt.server.trace import Trace, Tracer
from tests.databases import Database, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers import Server

AS, RS, SUX, S, SRX, X, AX = (
    Mode.ACCESS_SHARE,
    Mode.ROW_SHARE,
    Mode.SHARE_UPDATE_EXCLUSIVE,
    Mode.SHARE,
    Mode.SHARE_ROW_EXCLUSIVE,
    Mode.EXCLUSIVE,
    Mode.ACCESS_EXCLUSIVE,
)

SETUP = """
create table p (id int primary key, name text);
insert into p select g, 'parent ' || g from generate_series(1, 2000) g;
create table t (id int primary key, p_id int, name varchar(50), n int);
insert into t select g, g, 'name ' || g, g from generate_series(1, 2000) g;
create table empty (id int primary key, p_id int, name text);
create materialized view m as select n, count(*) from t group by n;
create unique index m_n on m (n);
create table log (id int, at date not null) partition by range (at);
create table log_1 partition of log for values from ('2025-01-01') to ('2026-01-01');
create table log_2 (id int, at date not null);
insert into log_1 select g, '2025-05-05' from generate_series(1, 2000) g;
insert into log_2 select g, '2026-05-05' from generate_series(1, 2000) g;
create function held(n int) returns int immutable language plpgsql
as $$ begin perform pg_advisory_xact_lock_shared(7); return n; end $$;
analyze;
"""
HELD = "create index h on t (held(n))"
CHECKED = "alter table log_2 add constraint c check (at >= '2026-01-01' and at < '2027-01-01')"
ATTACH = "alter table log attach partition log_2 for values from ('2026-01-01') to ('2027-01-01')"


@dataclass(frozen=True)
class Known:
    """A statement, and what PostgreSQL does."""

    name: str
    sql: str
    locks: dict[str, Mode]
    rewrites: str = ""
    scans: str = ""
    builds: str = ""
    blocking: bool = False
    before: str = "select 1"
    transaction: bool = True

    def __str__(self) -> str:
        return self.name


KNOWN = [
    Known("check", "alter table t add check (n > 0)", {"t": AX}, scans="t", blocking=True),
    Known("check not valid", "alter table t add check (n > 0) not valid", {"t": AX}),
    Known(
        "validate check",
        "alter table t validate constraint c",
        {"t": SUX},
        scans="t",
        before="alter table t add constraint c check (n > 0) not valid",
    ),
    Known("index", "create index i on t (n)", {"t": S}, scans="t", builds="i", blocking=True),
    Known(
        "index concurrently", "create index concurrently i on t (held(n))", {"t": SUX}, builds="i", transaction=False
    ),
    Known("index on an empty table", "create index i on empty (name)", {"empty": S}),
    Known("index on the partitioned table alone", "create index i on only log (id)", {"log": S}),
    Known(
        "index on a partitioned table",
        "create index i on log (id)",
        {"log": S, "log_1": S},
        scans="log_1",
        builds="log_1_id_idx",
        blocking=True,
    ),
    Known(
        "int to bigint",
        "alter table t alter n type bigint",
        {"t": AX, "t_pkey": AX},
        rewrites="t",
        scans="t",
        builds="t_pkey",
        blocking=True,
        before="drop materialized view m",
    ),
    Known("wider varchar", "alter table t alter name type varchar(90)", {"t": AX}),
    Known(
        "wider varchar with an index that keeps its file",
        "alter table t alter name type varchar(90)",
        {"t": AX, "i": AX},
        before="create index i on t (name)",
    ),
    Known(
        "wider varchar in an index expression",
        "alter table t alter name type varchar(90)",
        {"t": AX, "i": AX},
        scans="t",
        builds="i",
        blocking=True,
        before="create index i on t (lower(name))",
    ),
    Known(
        "volatile default",
        "alter table t add x uuid default gen_random_uuid()",
        {"t": AX, "t_pkey": AX},
        rewrites="t",
        scans="t",
        builds="t_pkey",
        blocking=True,
    ),
    Known(
        "volatile default, empty",
        "alter table empty add x uuid default gen_random_uuid()",
        {"empty": AX, "empty_pkey": AX},
    ),
    Known("constant default", "alter table t add x int not null default 7", {"t": AX}),
    Known("stable default", "alter table t add x timestamptz default now()", {"t": AX}),
    Known("inline check", "alter table t add x int check (x > 0)", {"t": AX}, scans="t", blocking=True),
    Known("inline foreign key", "alter table t add x int references p", {"t": AX, "p": SRX}),
    Known("set not null", "alter table t alter n set not null", {"t": AX}, scans="t", blocking=True),
    Known(
        "set not null with a proof",
        "alter table t alter n set not null",
        {"t": AX},
        before="alter table t add check (n is not null)",
    ),
    Known("set not null, empty", "alter table empty alter name set not null", {"empty": AX}),
    Known(
        "foreign key",
        "alter table t add foreign key (p_id) references p",
        {"t": SRX, "p": SRX},
        scans="t p",
        blocking=True,
    ),
    Known(
        "foreign key, read by indexes",
        "alter table t add foreign key (p_id) references p",
        {"t": SRX, "p": SRX},
        scans="t p",
        blocking=True,
        before="create index i on t (p_id); set enable_seqscan = off; set enable_hashjoin = off; set enable_sort = off",
    ),
    Known("foreign key not valid", "alter table t add foreign key (p_id) references p not valid", {"t": SRX, "p": SRX}),
    Known(
        "validate foreign key",
        "alter table t validate constraint f",
        {"t": SUX, "p": RS},
        scans="t p",
        before="alter table t add constraint f foreign key (p_id) references p not valid",
    ),
    Known("foreign key, empty", "alter table empty add foreign key (p_id) references p", {"empty": SRX, "p": SRX}),
    Known("unique", "alter table t add constraint u unique (n)", {"t": AX}, scans="t", builds="u", blocking=True),
    Known(
        "unique by an index",
        "alter table t add constraint u unique using index i",
        {"t": AX, "i": SUX},
        before="create unique index i on t (n)",
    ),
    Known("attach", ATTACH, {"log": SUX, "log_2": AX}, scans="log_2", blocking=True),
    Known("attach with a proof", ATTACH, {"log": SUX, "log_2": AX}, before=CHECKED),
    Known(
        "attach that builds an index",
        ATTACH,
        {"log": SUX, "log_2": AX, "i": SUX},
        scans="log_2",
        builds="log_2_id_idx",
        blocking=True,
        before=f"{CHECKED}; create index i on log (id)",
    ),
    Known(
        "attach the index of a partition",
        "alter index i attach partition i1",
        {"log": AS, "log_1": AS, "i": SUX, "i1": AX},
        before="create index i on only log (id); create index i1 on log_1 (id)",
    ),
    Known(
        "vacuum full",
        "vacuum full t",
        {"t": AX, "t_pkey": AX, "h": AX},
        rewrites="t",
        builds="t_pkey h",
        blocking=True,
        before=HELD,
        transaction=False,
    ),
    Known("vacuum", "vacuum (analyze) t", {"t": SUX}, before=HELD, transaction=False),
    Known(
        "cluster",
        "cluster t using t_pkey",
        {"t": AX, "t_pkey": AX},
        rewrites="t",
        scans="t",
        builds="t_pkey",
        blocking=True,
    ),
    Known("reindex", "reindex index t_pkey", {"t": S, "t_pkey": AX}, scans="t", builds="t_pkey", blocking=True),
    Known(
        "reindex concurrently",
        "reindex index concurrently h",
        {"t": SUX},
        builds="h",
        before=HELD,
        transaction=False,
    ),
    Known(
        "refresh",
        "refresh materialized view m",
        {"m": AX, "m_n": AX, "t": AS},
        rewrites="m",
        scans="m t",
        builds="m_n",
        blocking=True,
    ),
    Known(
        "refresh concurrently",
        "refresh materialized view concurrently m",
        {"m": X, "t": AS},
        scans="m t",
        blocking=True,
    ),
    Known(
        "set unlogged",
        "alter table t set unlogged",
        {"t": AX, "t_pkey": AX},
        rewrites="t",
        scans="t",
        builds="t_pkey",
        blocking=True,
    ),
    Known("rename index", "alter index i rename to j", {"i": SUX}, before="create index i on t (n)"),
    Known("drop index", "drop index i", {"t": AX, "i": AX}, before="create index i on t (n)"),
    Known("drop column", "alter table t drop p_id", {"t": AX}),
    Known("truncate", "truncate t", {"t": AX, "t_pkey": AX}),
    Known(
        "one row by its key", "lock table t in share row exclusive mode; update t set n = 0 where id = 7", {"t": SRX}
    ),
    Known(
        "a new table",
        "create table x as select g from generate_series(1, 500) g; create index on x (g);"
        " alter table x alter g type bigint, add check (g > 0)",
        {},
    ),
    Known(
        "a table that only seems new",
        "create table if not exists t (); create index i on t (n)",
        {"t": S},
        scans="t",
        builds="i",
        blocking=True,
    ),
    Known(
        "hidden in a block",
        "do $$ begin alter table t alter n set not null; end $$",
        {"t": AX},
        scans="t",
        blocking=True,
    ),
    Known(
        "work on one table under the lock of another",
        "alter table t add x int; select count(*) from p",
        {"t": AX, "p": AS},
        scans="p",
        blocking=True,
    ),
]


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[Database]:
    """One database for all of these: to make one takes longer than the test."""
    maintenance = Database(server, server.maintenance_dbname)
    maintenance.run("create database trace")
    yield Database(server, "trace")
    maintenance.run("drop database trace (force)")


@pytest.fixture
def session(shared: Database) -> Iterator[Session]:
    """A session in autocommit, on a few tables."""
    shared.run("drop schema public cascade; create schema public;" + SETUP)
    with shared.engine().connect() as connection:
        session = Session(connection)
        with session.autocommit():
            yield session


@pytest.mark.parametrize("known", KNOWN, ids=str)
def test_what_is_known(session: Session, known: Known) -> None:
    session.run(*known.before.split("; "))
    trace = traced(session, known)
    assert {lock.name: lock.mode for lock in trace.locks} == known.locks
    assert (local(trace.rewritten), local(trace.scanned), local(trace.indexed)) == (
        set(known.rewrites.split()),
        set(known.scans.split()) if known.transaction else set(),
        set(known.builds.split()),
    )
    assert trace.blocking is known.blocking, trace


def test_a_serializable_transaction(session: Session) -> None:
    session.run("begin isolation level serializable", "select count(*) from t")
    tracer = Tracer(session)
    session.run("select count(*) from t")
    trace = tracer.trace()
    session.run("rollback")
    assert {lock.mode for lock in trace.locks} == {AS}
    assert local(trace.scanned) == {"t"}


def test_names_are_those_from_before(session: Session) -> None:
    session.run('create schema "My S"', 'create table "My S"."T 1" (a int)', 'insert into "My S"."T 1" values (1)')
    with session.rolled_back():
        tracer = Tracer(session)
        session.run('alter table "My S"."T 1" alter a type bigint', 'alter table "My S"."T 1" rename to x')
        trace = tracer.trace()
    assert trace.locks == {Lock(AX, "T 1", "My S")}
    assert trace.rewritten == {"My S.T 1"}
    assert str(trace) == "ACCESS EXCLUSIVE on My S.T 1; rewrites My S.T 1; scans My S.T 1"


def test_locks_that_were_given_back_do_not_count(session: Session) -> None:
    with session.rolled_back():
        tracer = Tracer(session)
        session.run("savepoint s", "lock table t", "rollback to s")
        assert tracer.trace().locks == frozenset()


def test_no_second_connection_is_an_error_and_not_an_empty_trace(session: Session, shared: Database) -> None:
    maintenance = Database(shared.server, shared.server.maintenance_dbname)
    maintenance.run("alter database trace allow_connections false")
    try:
        with pytest.raises(OperationalError, match="not currently accepting"), Tracer(session).from_outside():
            pytest.fail("it went on unseen")
    finally:
        maintenance.run("alter database trace allow_connections true")


def traced(session: Session, known: Known) -> Trace:
    tracer = Tracer(session)
    if known.transaction:
        with session.rolled_back():
            session.run(*known.sql.split("; ")) if "$$" not in known.sql else session.run(known.sql)
            return tracer.trace()
    with (
        holding_up(session, lambda: known.locks.items() <= {lock.name: lock.mode for lock in tracer.locks}.items()),
        tracer.from_outside(),
    ):
        session.run(known.sql)
    return tracer.trace()


@contextmanager
def holding_up(session: Session, until: Callable[[], bool]) -> Iterator[None]:
    """Keep the function `held` waiting until something is so."""

    def let_go() -> None:
        try:
            wait_until("the locks", until)
        finally:
            holder.close()

    holder = session.connection.engine.connect()
    Session(holder).run("select pg_advisory_lock(7)", "commit")
    thread = threading.Thread(target=let_go)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def local(names: frozenset[str]) -> set[str]:
    return {name.removeprefix("public.") for name in names}
