"""A connection as the runners use it: statements in, rows out, transactions of our own."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy.exc import DBAPIError

from pgopt.server.quoting import literal, render, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg.sql import Composable
    from sqlalchemy.engine import Connection, CursorResult

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
SERIALIZATION_FAILURE = "40001"
QUERY_CANCELED = "57014"


class Session:
    """The server behind an SQLAlchemy connection, whatever its driver.

    Statements go to the driver as they are, without parameters, so that neither ``:name`` nor ``%`` is read in them.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @cached_property
    def pid(self) -> int:
        """The process of the server that works for us."""
        return int(self.value("select pg_backend_pid()"))

    def run(self, *statements: Composable | str) -> None:
        """Send statements, one by one."""
        for statement in statements:
            self._send(statement)

    def count(self, statement: Composable) -> int:
        """Send a statement and tell how many rows it touched."""
        return self._send(statement).rowcount

    def rows(self, query: Composable | str) -> Sequence[Any]:
        """Send a query and give all its rows."""
        return self._send(query).fetchall()

    def row(self, query: Composable | str) -> Any:
        """Send a query and give its first row, or nothing."""
        return self._send(query).first()

    def value(self, query: Composable | str) -> Any:
        """Send a query and give the first value of its first row."""
        row = self.row(query)
        return None if row is None else row[0]

    @contextmanager
    def autocommit(self) -> Iterator[None]:
        """Commit what is open, then let each statement stand for itself until the end of the block.

        This is done at the driver and behind SQLAlchemy's back, because Alembic's or the application's transaction
        objects must stay usable: they go on with the transaction that the driver opens next.
        """
        driver = cast("Any", self.connection.connection.dbapi_connection)
        before = driver.autocommit
        driver.commit()
        driver.autocommit = True
        try:
            yield
        finally:
            if not self.connection.invalidated and not self.connection.closed:
                driver.autocommit = before

    @contextmanager
    def transaction(self, settings: Mapping[str, str] | None = None) -> Iterator[None]:
        """Run a block in one transaction of its own, inside `autocommit`."""
        self.run("begin")
        try:
            if settings:
                self.set(settings, local=True)
            yield
            self.run("commit")
        except BaseException:
            self.abandon()
            raise

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        """Run a block in a transaction that leaves nothing behind."""
        self.run("begin")
        try:
            yield
        finally:
            self.abandon()

    @contextmanager
    def settings(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Change settings for a block of statements that cannot run in a transaction."""
        before = self.row(sql("select " + ", ".join(["current_setting({})"] * len(settings)), *map(literal, settings)))
        self.set(settings)
        try:
            yield
        finally:
            if self.alive:
                self.set(dict(zip(settings, before, strict=True)))

    def set(self, settings: Mapping[str, str], *, local: bool = False) -> None:
        """Change settings of the session, or of the transaction."""
        calls = [sql("set_config({}, {}, {})", literal(k), literal(v), literal(local)) for k, v in settings.items()]
        self.rows(sql("select " + ", ".join(["{}"] * len(calls)), *calls))

    def abandon(self) -> None:
        """Roll back, unless the connection is gone and the server has done it."""
        if self.alive:
            try:
                self.run("rollback")
            except DBAPIError:
                if self.alive:
                    raise

    def _send(self, statement: Composable | str) -> CursorResult[Any]:
        # without no_parameters the driver would read % in function bodies and LIKE patterns
        return self.connection.exec_driver_sql(render(statement), execution_options={"no_parameters": True})

    @property
    def alive(self) -> bool:
        """Whether the connection can still be used."""
        return not self.connection.invalidated and not self.connection.closed


class ServerError(NamedTuple):
    """What the server said, in the words of whichever driver."""

    code: str | None
    message: str
    detail: str | None
    hint: str | None

    @property
    def sentence(self) -> str:
        """The message with its detail and hint, on one line."""
        parts = (part.strip().rstrip(".") for part in (self.message, self.detail, self.hint) if part)
        return " ".join("; ".join(parts).split())


def server_error(error: DBAPIError) -> ServerError:
    """Read the error of psycopg, psycopg2 or asyncpg."""
    original = cast("Any", error.orig)
    cause = original if hasattr(original, "diag") else (original.__cause__ or original)
    diag = getattr(cause, "diag", None)
    code = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if diag is not None and diag.message_primary:
        return ServerError(code, diag.message_primary, diag.message_detail, diag.message_hint)
    message = getattr(cause, "message", None) or str(cause)
    return ServerError(code, message, getattr(cause, "detail", None), getattr(cause, "hint", None))
