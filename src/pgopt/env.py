"""An application's whole env.py in one call."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from logging.config import fileConfig
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, pool
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from pgopt.copy.shape import GONE, PART, PARTED, PLAIN, beside
from pgopt.errors import PgoptError, UnsafeTransaction
from pgopt.plan.events import WaitingForRunner
from pgopt.plan.journal import Journal
from pgopt.plan.progress import be_heard, reporter
from pgopt.plan.revisions import DOWN, UP, chain_of, revision_of
from pgopt.plan.script import stop_at_errors
from pgopt.plan.settings import Settings
from pgopt.plan.undoing import UNDOING
from pgopt.server import runners
from pgopt.server.pooler import refuse_pooler
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import MetaData
    from sqlalchemy.engine import URL, Connection

APPLICATION_NAME = "pgopt migration"
SCHEMA = "pgopt"
PREVIEW = "pgopt_preview"
NO_URL = "which database? say alembic -x url=postgresql://…, or set DATABASE_URL, or sqlalchemy.url in alembic.ini"


def run(
    context: EnvironmentContext | Any,
    target_metadata: MetaData | Sequence[MetaData] | None = None,
    *,
    url: str | URL | None = None,
    otherwise: AbstractContextManager[URL] | None = None,
    settings: Settings | None = None,
    **configure: Any,
) -> None:
    """Run the migrations, online or as a script; this is all that an env.py needs::

        from alembic import context
        import pgopt.env
        from app.models import Base

        pgopt.env.run(context, target_metadata=Base.metadata)

    The server is the one of ``alembic -x url=…``, else of ``url``, else of the variable DATABASE_URL, else of
    ``sqlalchemy.url`` in alembic.ini; a connection in ``config.attributes["connection"]`` comes before all of these, and
    ``otherwise`` is opened where none of them is there. Logging is set up as alembic.ini says, unless the program has
    done so. Further keywords go to Alembic's ``context.configure()``. One runner is at work at a time; each revision has its own
    transaction; partitions and the `pgopt` schema are hidden from autogenerate.
    """
    options = {
        "target_metadata": target_metadata,
        "pgopt_settings": settings,
        **configure,
        "transaction_per_migration": True,
    }
    _set_logging_up(context.config)
    preview = context.config.attributes.get(PREVIEW)
    if context.is_offline_mode() and preview is None:
        _offline(context, url_of(context, url), options)
        return
    given = context.config.attributes.get("connection")
    if given is not None:
        _online(context, options, given)
        return
    with ExitStack() as stack:
        found = preview.url if preview is not None and preview.url is not None else url_of(context, url)
        if found is None and otherwise is not None:
            found = stack.enter_context(otherwise)
        if found is None:
            raise PgoptError(NO_URL)
        if preview is not None:
            preview.url = found
            _offline(context, found, options)
        else:
            _connect(found, partial(_online, context, options))


def hidden_from_autogenerate(
    connection: Connection, include_name: Callable[..., bool] | None = None
) -> Callable[[str | None, str, Any], bool]:
    """Give an ``include_name`` that hides partitions, the `pgopt` schema and what is beside a table, which Alembic would propose to drop.

    For an env.py that does not use `run`::

        context.configure(connection=connection, include_name=pgopt.env.hidden_from_autogenerate(connection))
    """
    ours: set[tuple[str, str]] | None = None

    def include(name: str | None, kind: str, parents: Any) -> bool:
        nonlocal ours
        if kind == "schema" and name == SCHEMA:
            return False
        if kind == "table":
            if ours is None:
                ours = _ours(connection)
            schema = parents.get("schema_name") or connection.dialect.default_schema_name
            if (schema, name) in ours:
                return False
        return include_name is None or include_name(name, kind, parents)

    return include


def _ours(connection: Connection) -> set[tuple[str, str]]:
    """Find partitions, and the other form of a table that is beside it: the way back, or what is being filled."""
    rows = Session(connection).rows(
        "select n.nspname, c.relname, c.relispartition from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p')"
    )
    beside_others = {(schema, beside(name, form)) for schema, name, _ in rows for form in (PLAIN, PARTED, PART, GONE)}
    return {(schema, name) for schema, name, is_partition in rows if is_partition or (schema, name) in beside_others}


def url_of(context: EnvironmentContext, url: str | URL | None = None) -> URL | None:
    """Give the URL of the server: of ``-x url=…``, else this one, else of DATABASE_URL, else of alembic.ini."""
    places: dict[str, str | URL | None] = {
        "-x url=": context.get_x_argument(as_dictionary=True).get("url"),
        "the url= of pgopt.env.run()": url,
        "DATABASE_URL": os.environ.get("DATABASE_URL"),
        "sqlalchemy.url": context.config.get_main_option("sqlalchemy.url"),
    }
    return next((read_url(text, place) for place, text in places.items() if text), None)


def read_url(text: str | URL, place: str) -> URL:
    """Read a URL, or say in one sentence, without its password, what is wrong with it."""
    if isinstance(text, str) and text.startswith("postgres://"):
        text = text.replace("postgres", "postgresql", 1)
    try:
        found = make_url(text)
        # SQLAlchemy 2.0 would take this for psycopg2, and 2.1 for psycopg
        found = found.set(drivername="postgresql+psycopg") if found.drivername == "postgresql" else found
        name = found.get_dialect().name
    except (ArgumentError, ValueError):
        raise PgoptError(
            f"the database's URL in {place} cannot be read: write it as postgresql://user:password@host:5432/name"
        ) from None
    if name != "postgresql":
        raise PgoptError(f"pgopt works on PostgreSQL, and the database's URL in {place} is for {name}")
    return found


def _offline(context: EnvironmentContext, url: URL | None, options: dict[str, Any]) -> None:
    # without the named style % is written as %% in function bodies
    where = {"url": url} if url is not None else {"dialect_name": "postgresql"}
    context.configure(**where, literal_binds=True, dialect_opts={"paramstyle": "named"}, **options)
    # SQLAlchemy 2.0 would double backslashes, until it has asked a server for standard_conforming_strings
    context.get_context().dialect._backslash_escapes = False  # type: ignore[attr-defined]
    if PREVIEW not in context.config.attributes:
        stop_at_errors(context.get_context())
    with context.begin_transaction():
        context.run_migrations()


def _set_logging_up(config: Config) -> None:
    if logging.getLogger().handlers:
        return
    if config.file_config.has_section("loggers"):
        fileConfig(config.file_config, disable_existing_loggers=False)
    else:
        be_heard()


def connect(url: URL, **options: Any) -> Connection:
    """Open a connection without a pool, or say in one sentence why there is none."""
    with _or_say_why(url):
        connection = create_engine(url, poolclass=pool.NullPool, **options).connect()
    return connection  # noqa: RET504  -- mypy thinks that the block swallows errors


def _connect(url: URL, then: Callable[[Connection], None]) -> None:
    if url.get_dialect().is_async:
        _connect_async(url, then)
        return
    with connect(url) as connection:
        then(connection)


def _connect_async(url: URL, then: Callable[[Connection], None]) -> None:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise PgoptError(
            "this thread runs an event loop already: run Alembic by asyncio.to_thread(), or hand over a connection by run_sync()"
        )
    asyncio.run(_await(url, then))


async def _await(url: URL, then: Callable[[Connection], None]) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    with _or_say_why(url):
        engine = create_async_engine(url, poolclass=pool.NullPool)
        connection = await engine.connect()
    try:
        await connection.run_sync(then)
    finally:
        await connection.close()
        await engine.dispose()


@contextmanager
def _or_say_why(url: URL) -> Iterator[None]:
    """Say in one sentence why there is no connection."""
    try:
        yield
    except Exception as error:  # asyncpg's own errors come through as they are
        reason = next(iter(str(getattr(error, "orig", None) or error).strip().splitlines()), type(error).__name__)
        raise PgoptError(f"could not connect to {url.render_as_string(hide_password=True)}: {reason}") from error


def _online(context: EnvironmentContext, options: dict[str, Any], connection: Connection) -> None:
    if connection.in_transaction():
        raise UnsafeTransaction(
            "the connection in config.attributes['connection'] is in a transaction, and online operations commit:"
            " hand it over after connection.commit()"
        )
    settings = Settings.of(options["pgopt_settings"])
    options["include_name"] = hidden_from_autogenerate(connection, options.get("include_name"))
    context.configure(connection=connection, **options)
    migrations = context.get_context()
    reads = _only_reads(migrations)
    migrations._migrations_fn = partial(_look_first, migrations._migrations_fn)  # type: ignore[arg-type]
    runner = _only_runner(Session(connection), f"the revisions of {chain_of(migrations)}", settings)
    with nullcontext() if reads else runner:
        with context.begin_transaction():
            context.run_migrations()
        # what else Alembic may have written, such as an empty version table
        connection.commit()


def _only_reads(context: MigrationContext) -> bool:
    """Whether the command is `current`, `check` or `revision --autogenerate`, which wait for nobody."""
    return UNDOING not in context.opts and getattr(context._migrations_fn, "__name__", "") in _READERS


_READERS = ("display_version", "retrieve_migrations")
"""What those commands call to read the version table."""


@contextmanager
def _only_runner(session: Session, what: str, settings: Settings) -> Iterator[None]:
    """Be the only one that runs these revisions, under a name by which others see who it is."""
    report = reporter()
    with session.autocommit():
        refuse_pooler(session, keeps_sessions=settings.session_pooler)
        before = session.value("show application_name")
    taken = False
    try:
        with session.autocommit():
            session.set({"application_name": APPLICATION_NAME})
            runners.take(
                session,
                what,
                patience=settings.runner_timeout,
                waiting=lambda what, holder: report(WaitingForRunner(what, holder)),
            )
            taken = True
        yield
    finally:
        if session.alive:
            session.connection.rollback()
            with session.autocommit():
                if taken:
                    runners.release(session, what)
                session.set({"application_name": before})


def _look_first(
    steps_of: Callable[..., Iterable[Any]], heads: tuple[str, ...], context: MigrationContext
) -> Sequence[Any]:
    """Refuse to go the wrong way before anything runs."""
    steps = list(steps_of(heads, context))
    if UNDOING in context.opts:
        return steps
    first = revision_of(context, steps[0]) if steps else None
    # an interrupted downgrade is still stamped: `alembic upgrade head` finds nothing to do
    nothing_to_do = not steps and getattr(steps_of, "__name__", "") in (UP, DOWN)
    if first is not None or nothing_to_do:
        journal = Journal.of(context, first)
        journal.check()
        journal.settle()
    if first is not None:
        # the version table that Alembic may just have made is no work of the first revision
        context.connection.commit()  # type: ignore[union-attr]
    return steps
