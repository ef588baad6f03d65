"""A connection as the runners use it: statements in, rows out, transactions of our own."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy.exc import DBAPIError

from pgopt.server.quoting import joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from psycopg.sql import Composable
    from sqlalchemy.engine import Connection, CursorResult

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
SERIALIZATION_FAILURE = "40001"
QUERY_CANCELED = "57014"
READ_ONLY = "25006"
INSUFFICIENT_PRIVILEGE = "42501"
UNDEFINED_FUNCTION = "42883"
UNDEFINED_TABLE = "42P01"
CANNOT_COERCE = "42846"
DATATYPE_MISMATCH = "42804"
UNIQUE_VIOLATION = "23505"

_PID = "pgopt pid"
OURS = "pgopt"
"""The option of execution by which our statements are told from those of a migration."""
# without no_parameters the driver would read % in function bodies and LIKE patterns; a migration may have asked for a stream
_OPTIONS = {OURS: True, "no_parameters": True, "stream_results": False}
_LONGEST = 300
"""Characters of a statement in an error."""
_BEGIN = "begin isolation level read committed"
"""Whatever the role or the database has: what is seen after a lock was waited for is to be what was committed meanwhile."""
_IDLE = 0  # of libpq's PQtransactionStatus, in psycopg and psycopg2 alike


class Session:
    """The server behind an SQLAlchemy connection, whatever its driver.

    Statements go to the driver as they are, without parameters, so that neither ``:name`` nor ``%`` is read in them.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

        self.changes = 0
        """How many statements were sent that may have changed something."""
        self._held: list[Composable | str] = []
        self._together: Callable[[Sequence[Composable | str]], Composable] | None = None

        self._in_force: dict[str, str] = {}

    @property
    def pid(self) -> int:
        """The process of the server that works for us."""
        known = self.connection.info
        if _PID not in known:
            known[_PID] = int(self.value("select pg_backend_pid()"))
        return cast("int", known[_PID])

    @property
    def version(self) -> int:
        """The server's version, as 180006; SQLAlchemy has asked when it connected."""
        numbers = [int(number) for number in self.connection.dialect.server_version_info or ()]
        return sum(number * unit for number, unit in zip(numbers, (10000, 1), strict=False))

    @property
    def idle(self) -> bool:
        """Whether the driver knows that no transaction is open on the server; one that cannot tell says no."""
        info = getattr(self.connection.connection.dbapi_connection, "info", None)
        return getattr(info, "transaction_status", None) == _IDLE

    def run(self, *statements: Composable | str) -> None:
        """Send statements, one by one."""
        for statement in statements:
            self.changes += 1
            if self._together is None:
                self._send(statement)
            else:
                self._held.append(statement)

    def count(self, statement: Composable) -> int:
        """Send a statement and tell how many rows it touched."""
        self.changes += 1
        return self._send(statement).rowcount

    def change(self, query: Composable) -> Any:
        """Send a query that changes something, and give the first value of its first row."""
        self.changes += 1
        return self.value(query)

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
        before, begun = driver.autocommit, self.connection.in_transaction()
        driver.commit()
        driver.autocommit = True
        try:
            yield
        finally:
            if self.alive:
                driver.autocommit = before
                if not begun:
                    # SQLAlchemy has begun a transaction with our first statement, in which nothing is open
                    self.connection.rollback()

    @contextmanager
    def transaction(self, settings: Mapping[str, str] | None = None, *, begin: str = _BEGIN) -> Iterator[None]:
        """Run a block in one transaction of its own, inside `autocommit`."""
        self.run(begin)
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
        """Run a block in a transaction that leaves nothing behind, in a session that otherwise may only read, too."""
        self.run("begin read write")
        try:
            yield
        finally:
            self.abandon()

    @contextmanager
    def gathered(self, together: Callable[[Sequence[Composable | str]], Composable]) -> Iterator[None]:
        """Hold the statements of a block back until something is asked, and send them as one then, and at its end."""
        self._together = together
        try:
            yield
            self._let_go()
        finally:
            self._held, self._together = [], None

    def _let_go(self) -> None:
        if self._held and self._together is not None:
            held, self._held = self._held, []
            self._send(self._together(held))

    @contextmanager
    def settings(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Change settings for a block of statements that cannot run in a transaction, where they are not so already."""
        wanted = {name: value for name, value in settings.items() if self._in_force.get(name) != value}
        if not wanted:
            yield
            return
        row = self.row(_save_and_set(tuple(wanted.items())))
        try:
            with self.in_force(wanted):
                yield
        finally:
            if self.alive:
                self.set(dict(zip(wanted, row, strict=False)))

    @contextmanager
    def in_force(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Know, for a block, what others have set for us."""
        before = self._in_force
        self._in_force = {**before, **settings}
        try:
            yield
        finally:
            self._in_force = before

    def set(self, settings: Mapping[str, str], *, local: bool = False) -> None:
        """Change settings of the session, or of the transaction."""
        self.rows(_set(tuple(settings.items()), local=local))

    def abandon(self) -> None:
        """Roll back, unless the connection is gone and the server has done it."""
        if self.alive:
            try:
                self.run("rollback")
            except DBAPIError:
                if self.alive:
                    raise

    def _send(self, statement: Composable | str) -> CursorResult[Any]:
        self._let_go()
        return self.connection.exec_driver_sql(render(statement), execution_options=_OPTIONS)

    @property
    def alive(self) -> bool:
        """Whether the connection can still be used."""
        return not self.connection.invalidated and not self.connection.closed


# the same few are sent for each operation: to compose them takes longer than to run them


@lru_cache
def _set(settings: tuple[tuple[str, str], ...], *, local: bool) -> str:
    return render(sql("select {}", changing(settings, local=local)))


@lru_cache
def _save_and_set(settings: tuple[tuple[str, str], ...]) -> str:
    before, calls = current(tuple(name for name, _ in settings)), changing(settings)
    return render(sql("with before as materialized (select {}) select *, {} from before", before, calls))


@lru_cache
def current(names: tuple[str, ...]) -> Composable:
    """Ask for some settings."""
    return verbatim(render(joined(sql("current_setting({})", literal(name)) for name in names)))


@lru_cache
def changing(settings: tuple[tuple[str, str], ...], *, local: bool = False) -> Composable:
    """Change some settings, and ask for them."""
    calls = (sql("set_config({}, {}, {})", *map(literal, (name, value, local))) for name, value in settings)
    return verbatim(render(joined(calls)))


class ServerError(NamedTuple):
    """What the server said, in the words of whichever driver."""

    code: str | None
    message: str
    detail: str | None
    hint: str | None
    inside: str | None = None
    """The statement that failed, where it was one of several in a DO block."""

    @property
    def sentence(self) -> str:
        """The message with its detail and hint, on one line."""
        parts = (part.strip().rstrip(".") for part in (self.message, self.detail, self.hint) if part)
        said = " ".join("; ".join(parts).split())
        return f"{said}; in {_shortened(self.inside)}" if self.inside else said


def server_error(error: DBAPIError) -> ServerError:
    """Read the error of psycopg, psycopg2 or asyncpg."""
    original = cast("Any", error.orig)
    cause = original if hasattr(original, "diag") else (original.__cause__ or original)
    diag = getattr(cause, "diag", None)
    code = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if diag is not None and diag.message_primary:
        inside = _inside(diag.context, diag.internal_query)
        return ServerError(code, diag.message_primary, diag.message_detail, diag.message_hint, inside)
    message = getattr(cause, "message", None) or str(cause)
    inside = _inside(getattr(cause, "context", None), getattr(cause, "internal_query", None))
    return ServerError(code, message, getattr(cause, "detail", None), getattr(cause, "hint", None), inside)


def _inside(context: str | None, internal_query: str | None) -> str | None:
    """Give the statement of a DO block that failed, from where the server says that it was.

    The innermost comes first, and how the server calls the block is the same in all languages. A statement that it has not
    understood is told apart.
    """
    before, block, _ = (context or "").partition("inline_code_block")
    if not block:
        return None
    return before.rpartition("\n")[0] or internal_query


def _shortened(statement: str) -> str:
    words = " ".join(statement.split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]} …"


def is_integrity_violation(error: DBAPIError) -> bool:
    """Whether rows break a constraint."""
    return (server_error(error).code or "").startswith("23")
