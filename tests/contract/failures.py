"""Failures at a statement of one's choice: what can happen to a migration between any two messages to the server."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

import psycopg
from sqlalchemy import event

from tests.databases import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Engine


class Failure(StrEnum):
    """What happens at the statement."""

    REFUSED = "the server refuses the statement"
    UNHEARD = "the statement is carried out, and the client gets an error"
    INTERRUPTED = "the statement is carried out, and somebody presses Ctrl-C"
    TERMINATED = "the backend is terminated"
    KILLED = "the process is killed"


# Ctrl-C closes the connection after a statement: that is what a backend does that is terminated before the next
MOST: list[Failure] = [failure for failure in Failure if failure is not Failure.INTERRUPTED]


class Interrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C."""


@dataclass
class Fuse:
    """Counts what an engine sends, commits included, and fails when its number comes up."""

    engine: Engine
    sent: list[str] = field(default_factory=list)
    at: int | None = None
    failure: Failure | None = None

    def __post_init__(self) -> None:
        event.listen(self.engine, "before_cursor_execute", self._before, retval=True)
        event.listen(self.engine, "after_cursor_execute", self._after)
        event.listen(self.engine, "commit", self._commit)

    def remove(self) -> None:
        """Listen no longer."""
        event.remove(self.engine, "before_cursor_execute", self._before)
        event.remove(self.engine, "after_cursor_execute", self._after)
        event.remove(self.engine, "commit", self._commit)

    def set(self, at: int | None = None, failure: Failure | None = None) -> None:
        """Count from one again, and fail at that statement, or never."""
        self.sent.clear()
        self.at, self.failure = at, failure

    @property
    def blown(self) -> bool:
        """Whether the statement has been reached."""
        return self.at is not None and len(self.sent) >= self.at

    def _before(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        many: bool,  # noqa: FBT001
    ) -> tuple[str, Any]:
        self.sent.append(statement)
        if self._now(Failure.REFUSED):
            return "select 1 / 0 as refused", ()
        self._strike(connection)
        return statement, parameters

    def _after(self, *_: Any) -> None:
        if self._now(Failure.UNHEARD):
            raise psycopg.OperationalError("the answer was lost")
        if self._now(Failure.INTERRUPTED):
            raise Interrupted

    def _commit(self, connection: Connection) -> None:
        self.sent.append("commit of the driver")
        if self._now(Failure.REFUSED):
            raise psycopg.OperationalError("the commit was not sent")
        if self._now(Failure.UNHEARD) or self._now(Failure.INTERRUPTED):
            connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            self._after()
        self._strike(connection)

    def _now(self, failure: Failure) -> bool:
        return len(self.sent) == self.at and self.failure is failure

    def _strike(self, connection: Connection) -> None:
        if self._now(Failure.TERMINATED):
            terminate(connection)
        if self._now(Failure.KILLED):
            os.kill(os.getpid(), signal.SIGKILL)


def terminate(connection: Connection) -> None:
    """Terminate the backend of a connection, from another one, and wait until it is gone."""
    info = connection.connection.dbapi_connection.info  # type: ignore[union-attr]
    with psycopg.connect(info.dsn, password=info.password, autocommit=True) as other:
        # its own wait looks ten times a second only
        other.execute("select pg_terminate_backend(%s)", [info.backend_pid])
        gone = "select not exists (select from pg_stat_get_activity(%s))"
        wait_until("the end of the backend", lambda: other.execute(gone, [info.backend_pid]).fetchall()[0][0])


def fail(fuse: Fuse, at: int, failure: Failure, work: Callable[[], object]) -> bool:
    """Do some work that fails at a statement, and tell whether it got so far."""
    fuse.set(at, failure)
    if failure is Failure.KILLED:
        return ending(spawn(work)) == -signal.SIGKILL
    try:
        work()
    except (Exception, Interrupted):
        if not fuse.blown:
            raise
        return True
    return fuse.blown


# -- processes ----------------------------------------------------------------------------------------------------------


def spawn(work: Callable[[], object]) -> int:
    """Do some work in a process of its own, which shares no connection with this one, and give its pid."""
    pid = os.fork()
    if pid == 0:
        _child(work)
    return pid


def _child(work: Callable[[], object]) -> NoReturn:
    # whatever happens, nothing of pytest may go on in here
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def ending(pid: int) -> int:
    """Wait for a process, and give its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- waits inside of one statement ---------------------------------------------------------------------------------------


@dataclass
class Obstacle:
    """An old transaction that writes to all tables: each wait of a CONCURRENTLY statement stops at it."""

    connection: psycopg.Connection[Any]
    tables: Sequence[str]

    def __post_init__(self) -> None:
        self.connection.execute("begin isolation level repeatable read")
        self.connection.execute("select 1")  # takes the snapshot
        for table in self.tables:
            self.connection.execute(f"lock table {table} in row exclusive mode")

    @property
    def pid(self) -> int:
        """Its backend."""
        return self.connection.info.backend_pid

    def close(self) -> None:
        """End the transaction."""
        self.connection.close()


@contextmanager
def obstacles(
    connect: Callable[[], psycopg.Connection[Any]], tables: Sequence[str]
) -> Iterator[Callable[[], Obstacle]]:
    """Give a maker of obstacles, and close at the end what is still open."""
    made: list[Obstacle] = []

    def make() -> Obstacle:
        made.append(Obstacle(connect(), tables))
        return made[-1]

    try:
        yield make
    finally:
        for obstacle in made:
            obstacle.close()
