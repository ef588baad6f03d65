"""A database in a test: SQL in, rows out, what pg_dump says of it, and operations carried out on it as Alembic does."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.operations import MigrateOperation
    from sqlalchemy import Engine

    from pgopt.plan.events import Event
    from tests.servers import Server

# what a test need not wait for
IMPATIENT = {"lock_attempts": 3, "lock_timeout": 0.2, "lock_wait": 0.1, "runner_timeout": 0.5}
# as in production: writers that are slow must not make an operation fail
PATIENT = {"lock_attempts": 100, "lock_timeout": 2.0, "lock_wait": 1.0}


@dataclass(frozen=True)
class Database:
    """One database on the server of the suite."""

    server: Server
    name: str

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Open a connection in autocommit."""
        return psycopg.connect(self.server.dsn(self.name), autocommit=True, **options)

    def run(self, text: str) -> None:
        """Run some SQL."""
        with self.connect() as connection:
            connection.execute(text)

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """Give the rows of a query."""
        with self.connect() as connection:
            return connection.execute(text).fetchall()

    def value(self, text: str) -> Any:
        """Give the first value of a query."""
        rows = self.rows(text)
        return rows[0][0] if rows else None

    def dump(self) -> str:
        """The schema as pg_dump writes it, without pgopt's own and Alembic's."""
        return self.server.run(
            "pg_dump",
            self.name,
            "--schema-only",
            "--restrict-key=pgopt",
            "--exclude-schema=pgopt",
            "--exclude-table=alembic_version",
        )

    def columns(self) -> dict[str, list[str]]:
        """The columns of each table, quoted."""
        rows = self.rows(
            "select format('%I.%I', n.nspname, c.relname), array_agg(quote_ident(a.attname) order by a.attnum)"
            " from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped group by 1"
        )
        return dict(rows)

    def contents(self, columns: dict[str, list[str]] | None = None) -> dict[str, list[str]]:
        """All rows of all tables but pgopt's, as sorted text, or what they have in some columns; partitions as a whole."""
        tables = self.rows(
            "select format('%I.%I', n.nspname, c.relname), format('%I.%I', m.nspname, r.relname)"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " join pg_class r on r.oid = coalesce(pg_partition_root(c.oid), c.oid) join pg_namespace m on m.oid = r.relnamespace"
            " where c.relkind = 'r' and c.relname !~ '_pgopt_plain$'"
            " and n.nspname not in ('pgopt', 'pg_catalog', 'information_schema') and n.nspname !~ '^pg_t'"
        )
        wanted = columns or self.columns()
        found: dict[str, list[str]] = {}
        with self.connect() as connection:
            for table, whole in tables:
                # columns of a partition may stand in another order
                row = f"row({', '.join(wanted.get(whole, []))})"
                rows = connection.execute(f"select {row}::text from only {table}").fetchall()
                found.setdefault(whole, []).extend(names(rows))
        return {table: sorted(rows) for table, rows in sorted(found.items())}

    def psql(self, script: str) -> str:
        """Let psql run a script."""
        return self.server.run("psql", self.name, "--no-psqlrc", "--quiet", stdin=script)

    def engine(self, driver: str = "psycopg", **options: Any) -> Engine:
        """An SQLAlchemy engine without a pool."""
        return create_engine(self.server.url(self.name, driver), poolclass=NullPool, **options)

    def perform(
        self,
        *operations: MigrateOperation,
        engine: Engine | None = None,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> list[Event]:
        """Carry operations out, each as a revision of its own, and give the events that were told."""
        events: list[Event] = []
        with self.migration(engine, settings=settings, **{"pgopt_report": events.append, **options}) as context:
            for operation in operations:
                with context.begin_transaction(_per_migration=True):
                    Operations(context).invoke(operation)
        return events

    @contextmanager
    def migration(
        self, engine: Engine | None = None, *, settings: dict[str, Any] | None = None, **options: Any
    ) -> Iterator[MigrationContext]:
        """Open Alembic's context on a connection, as env.py does."""
        from pgopt import Settings

        with (engine or _engine_of(self.server.url(self.name))).connect() as connection:
            opts = {
                "transaction_per_migration": True,
                "pgopt_settings": Settings.of(None, {**IMPATIENT, **(settings or {})}),
                **options,
            }
            yield MigrationContext.configure(connection, opts=opts)

    def script(self, *operations: MigrateOperation) -> str:
        """Write operations as `alembic upgrade --sql` does."""
        import io

        buffer = io.StringIO()
        context = MigrationContext.configure(
            dialect_name="postgresql",
            opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True, "transaction_per_migration": True},
            dialect_opts={"paramstyle": "named"},
        )
        for operation in operations:
            with context.begin_transaction(_per_migration=True):
                Operations(context).invoke(operation)
        return buffer.getvalue()


@cache
def _engine_of(url: str) -> Engine:
    """An engine that many tests share, since each new one asks the server a dozen questions first."""
    return create_engine(url, poolclass=NullPool)


@contextmanager
def held(database: Database, statement: str) -> Iterator[None]:
    """Hold what a statement locks for a block, but for a few seconds at most: who waits without end is seen to go on."""
    with database.connect() as connection:
        connection.execute(f"begin; {statement}")
        release = threading.Timer(5, connection.execute, ["rollback"])
        release.start()
        try:
            yield
        finally:
            release.cancel()
            release.join()


def wait_until(what: str, question: Any, *, seconds: float = 20.0) -> Any:
    """Ask until the answer is true; fail when it never is."""
    import time

    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < seconds:
        if answer := question():
            return answer
        # most answers come within milliseconds
        time.sleep(min(0.02, 0.001 + waited / 4))
    raise AssertionError(f"never seen: {what}")


def names(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The first column."""
    return [row[0] for row in rows]
