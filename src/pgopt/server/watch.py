"""A look from a second connection at a statement that takes long: how far it is, and whom it waits for."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pgopt.server.locks import Blocker, sessions_blocking
from pgopt.server.quoting import literal, sql
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EVERY = 1.0


class Sight(NamedTuple):
    """What the watcher saw."""

    phase: str
    done: int
    total: int
    unit: str
    blockers: Sequence[Blocker]


@contextmanager
def beside(engine: Engine) -> Iterator[Session]:
    """Open a second connection to look at the first one."""
    # a pool of our own: the application's may be at its limit, or hand out the one connection that is busy
    ours = Engine(engine.pool.recreate(), engine.dialect, engine.url)
    try:
        with ours.connect() as connection:
            session = Session(connection.execution_options(isolation_level="AUTOCOMMIT"))
            session.run("set application_name = 'pgopt watcher'", "set statement_timeout = '2s'")
            yield session
    finally:
        ours.dispose()


@contextmanager
def watched(session: Session, after: float, tell: Callable[[Sight], None]) -> Iterator[None]:
    """Watch the session's statement from a second connection, when it runs longer than a moment.

    Where no second connection is to be had (an async driver, a full server) nothing is shown; nothing else changes.
    """
    engine = session.connection.engine
    if engine.dialect.is_async:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(engine, session.pid, after, ended, tell), name="pgopt watcher", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(engine: Engine, pid: int, after: float, ended: threading.Event, tell: Callable[[Sight], None]) -> None:
    if ended.wait(after):
        return
    with suppress(SQLAlchemyError), beside(engine) as session:
        while session.alive and not ended.wait(EVERY):
            with suppress(DBAPIError):
                if (sight := _look(session, pid)) is not None:
                    tell(sight)


def _look(session: Session, pid: int) -> Sight | None:
    row = session.row(
        sql(
            "select p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total, p.lockers_done, p.lockers_total"
            " from pg_stat_progress_create_index p where p.pid = {}",
            literal(pid),
        )
    )
    blockers = sessions_blocking(session, pid)
    if row is None:
        return Sight("waiting for other sessions", 0, 0, "sessions", blockers) if blockers else None
    phase, *counts = row
    for unit, done, total in zip(("blocks", "rows", "sessions"), counts[::2], counts[1::2], strict=True):
        if total and done < total:
            return Sight(phase, done, total, unit, blockers)
    return Sight(phase, 0, 0, "blocks", blockers)
