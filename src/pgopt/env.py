"""An application's whole env.py in one call."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, pool
from sqlalchemy.engine import make_url

from pgopt.errors import PgoptError, UnsafeTransaction
from pgopt.plan.events import WaitingForRunner
from pgopt.plan.journal import Journal, chain_of, revision_of
from pgopt.plan.progress import reporter
from pgopt.plan.settings import Settings
from pgopt.server import locks
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import MetaData
    from sqlalchemy.engine import URL, Connection

APPLICATION_NAME = "pgopt migration"
SCHEMA = "pgopt"


def run(
    context: EnvironmentContext | Any,
    target_metadata: MetaData | Sequence[MetaData] | None = None,
    *,
    url: str | URL | None = None,
    settings: Settings | None = None,
    **configure: Any,
) -> None:
    """Run the migrations, online or as a script; this is all that an env.py needs::

        from alembic import context
        import pgopt.env
        from app.models import Base

        pgopt.env.run(context, target_metadata=Base.metadata)

    The server is the one of ``alembic -x url=…``, else of ``url``, else of the variable DATABASE_URL, else of
    ``sqlalchemy.url`` in alembic.ini; a connection in ``config.attributes["connection"]`` comes before all of these.
    Further keywords go to Alembic's ``context.configure()``. One runner is at work at a time; each revision has its own
    transaction; partitions and the `pgopt` schema are hidden from autogenerate.
    """
    options = {
        "target_metadata": target_metadata,
        "pgopt_settings": settings,
        **configure,
        "transaction_per_migration": True,
    }
    if context.is_offline_mode():
        _offline(context, _url(context, url), options)
        return
    given = context.config.attributes.get("connection")
    if given is not None:
        _online(context, options, given)
        return
    found = _url(context, url)
    if found is None:
        raise PgoptError(
            "which database? say alembic -x url=postgresql://…, or set DATABASE_URL, or sqlalchemy.url in alembic.ini"
        )
    if found.get_dialect().is_async:
        asyncio.run(_connect_async(found, partial(_online, context, options)))
        return
    engine = create_engine(found, poolclass=pool.NullPool)
    with engine.connect() as connection:
        _online(context, options, connection)


def hidden_from_autogenerate(
    connection: Connection, include_name: Callable[..., bool] | None = None
) -> Callable[[str | None, str, Any], bool]:
    """Give an ``include_name`` that hides partitions and the `pgopt` schema, which Alembic would propose to drop.

    For an env.py that does not use `run`::

        context.configure(connection=connection, include_name=pgopt.env.hidden_from_autogenerate(connection))
    """
    partitions: set[tuple[str, str]] | None = None

    def include(name: str | None, kind: str, parents: Any) -> bool:
        nonlocal partitions
        if kind == "schema" and name == SCHEMA:
            return False
        if kind == "table":
            if partitions is None:
                partitions = _partitions(connection)
            schema = parents.get("schema_name") or connection.dialect.default_schema_name
            if (schema, name) in partitions:
                return False
        return include_name is None or include_name(name, kind, parents)

    return include


def _partitions(connection: Connection) -> set[tuple[str, str]]:
    rows = Session(connection).rows(
        "select relnamespace::regnamespace::text, relname from pg_class where relispartition"
    )
    return {(schema.strip('"'), name) for schema, name in rows}


def _url(context: EnvironmentContext, url: str | URL | None) -> URL | None:
    said = context.get_x_argument(as_dictionary=True).get("url")
    text = said or url or os.environ.get("DATABASE_URL") or context.config.get_main_option("sqlalchemy.url")
    if not text:
        return None
    if isinstance(text, str) and text.startswith("postgres://"):
        text = text.replace("postgres", "postgresql", 1)
    found = make_url(text)
    # SQLAlchemy 2.0 would take this for psycopg2, and 2.1 for psycopg
    return found.set(drivername="postgresql+psycopg") if found.drivername == "postgresql" else found


def _offline(context: EnvironmentContext, url: URL | None, options: dict[str, Any]) -> None:
    # without the named style % is written as %% in function bodies
    where = {"url": url} if url is not None else {"dialect_name": "postgresql"}
    context.configure(**where, literal_binds=True, dialect_opts={"paramstyle": "named"}, **options)  # type: ignore[arg-type]
    with context.begin_transaction():
        context.run_migrations()


async def _connect_async(url: URL, then: Callable[[Connection], None]) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(then)
    await engine.dispose()


def _online(context: EnvironmentContext, options: dict[str, Any], connection: Connection) -> None:
    if connection.in_transaction():
        raise UnsafeTransaction(
            "the connection in config.attributes['connection'] is in a transaction, and online operations commit:"
            " hand it over after connection.commit()"
        )
    options["include_name"] = hidden_from_autogenerate(connection, options.get("include_name"))
    context.configure(connection=connection, **options)
    migrations = context.get_context()
    migrations._migrations_fn = partial(_refuse_wrong_way, migrations._migrations_fn)  # type: ignore[arg-type]
    session = Session(connection)
    report = reporter()
    patience = Settings.of(options["pgopt_settings"]).runner_timeout
    what = f"the revisions of {chain_of(migrations)}"
    with session.autocommit():
        session.set({"application_name": APPLICATION_NAME})
        locks.take(session, what, patience=patience, waiting=lambda holder: report(WaitingForRunner(what, holder)))
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        if session.alive:
            with session.autocommit():
                locks.release(session, what)


def _refuse_wrong_way(
    steps_of: Callable[..., Iterable[Any]], heads: tuple[str, ...], context: MigrationContext
) -> Sequence[Any]:
    steps = list(steps_of(heads, context))
    first = revision_of(context, steps[0]) if steps else None
    if first is not None:
        Journal(Session(context.connection), chain_of(context), first).check()  # type: ignore[arg-type]
    return steps
