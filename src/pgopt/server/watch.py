"""A look from a second connection at a statement that takes long: how far it is, and whom it waits for."""

from __future__ import annotations

import threading
import time
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
_TICK = 0.1
_PATIENCE = 3.0
"""For how long a look is waited for that is just being taken, in seconds; it has two at the server."""


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
    thread = threading.Thread(target=_watch, args=(engine, session.pid, ended, tell), name="pgopt watcher", daemon=True)
    _LATER.begin(thread, after)
    try:
        yield
    finally:
        ended.set()
        if not _LATER.forget(thread):
            # where the second connection neither opens nor fails, it is left alone with that
            thread.join(_PATIENCE)


class _Later:
    """Begins threads after a while, from one that looks now and then: to begin or wake one for each statement takes longer than most do."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._due: dict[threading.Thread, float] = {}
        self._looking: threading.Thread | None = None

    def begin(self, thread: threading.Thread, after: float) -> None:
        """Begin a thread after so many seconds, unless it is forgotten before."""
        with self._guard:
            self._due[thread] = time.monotonic() + after
            # after a fork it is there and does not live
            if self._looking is None or not self._looking.is_alive():
                self._looking = threading.Thread(target=self._look_on, name="pgopt lookout", daemon=True)
                self._looking.start()

    def forget(self, thread: threading.Thread) -> bool:
        """Do not begin a thread, and tell whether it has not begun."""
        with self._guard:
            return self._due.pop(thread, None) is not None

    def _look_on(self) -> None:
        while True:
            time.sleep(_TICK)
            with self._guard:
                now = time.monotonic()
                for thread in [each for each, due in self._due.items() if due <= now]:
                    thread.start()
                    del self._due[thread]
                if not self._due:
                    self._looking = None
                    return


_LATER = _Later()


def _watch(engine: Engine, pid: int, ended: threading.Event, tell: Callable[[Sight], None]) -> None:
    with suppress(SQLAlchemyError), beside(engine) as session:
        while session.alive and not ended.wait(EVERY):
            with suppress(DBAPIError):
                if (sight := _look(session, pid)) is not None and not ended.is_set():
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
