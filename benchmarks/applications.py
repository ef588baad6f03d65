"""What the applications of the reference chain do in many statements, in Python rather than in one text."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session, registry
from sqlalchemy.pool import StaticPool

from migrations.metadata import vibing2 as models
from tools.data import musclemap, vibing2
from tools.data.chance import Chance, cuid, today, uuid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    Connection = psycopg.Connection[Any]

# -- saas: a page of users with all that belongs to them -----------------------------------------------------------------

PAGE_OF_USERS = 166
NEWEST_USERS = "select id from saas.users order by created_at desc limit %s"


def dashboard_by_user(connection: Connection) -> None:
    """Ask for the projects, tasks and settings of each user of a page: 1 + 3 n statements."""
    for user in connection.execute(NEWEST_USERS, [PAGE_OF_USERS]).fetchall():
        connection.execute("select * from saas.projects where user_id = %s", user).fetchall()
        connection.execute("select * from saas.tasks where user_id = %s", user).fetchall()
        connection.execute("select * from saas.user_settings where user_id = %s", user).fetchall()


def dashboard_at_once(connection: Connection) -> None:
    """Ask for them by a list of users: 4 statements, as an ORM's loading in advance does."""
    users = connection.execute(NEWEST_USERS, [PAGE_OF_USERS]).fetchall()
    ids = [[user for (user,) in users]]
    connection.execute("select * from saas.projects where user_id = any(%s)", ids).fetchall()
    connection.execute("select * from saas.tasks where user_id = any(%s) and status <> 'archived'", ids).fetchall()
    connection.execute("select * from saas.user_settings where user_id = any(%s)", ids).fetchall()


# -- vibing2: the files of a project -------------------------------------------------------------------------------------

FILES = 100
LONG_PROJECT = cuid(vibing2.PROJECT, 0)
TABLE = models.metadata.tables["vibing2.ProjectFile"]
NAMES = ("id", "projectId", "path", "language", "content", "createdAt", "updatedAt")
COLUMNS = ", ".join(f'"{name}"' for name in NAMES)
FILE = f'insert into vibing2."ProjectFile" ({COLUMNS}) values ({", ".join(["%s"] * len(NAMES))})'
COPIED = f'copy vibing2."ProjectFile" ({COLUMNS}) from stdin'
NUMBERS = itertools.count()


class File:
    """A file as the application's ORM has it."""


registry().map_imperatively(File, TABLE)


def written() -> Iterator[tuple[Any, ...]]:
    """Give files that were never there."""
    for n in itertools.islice(NUMBERS, FILES):
        told = (f"bench {n}", LONG_PROJECT, f"src/bench{n}.ts", "typescript", "let it = be;" * 50)
        yield *told, datetime(2026, 1, 1), datetime(2026, 1, 1)  # noqa: DTZ001  -- Prisma's columns have no time zone


@contextmanager
def session_of(connection: Connection) -> Iterator[Session]:
    """Give an ORM's session on a connection."""
    connection.autocommit = False
    try:
        with Session(engine_of(connection)) as session:
            yield session
    finally:
        connection.autocommit = True


@cache
def engine_of(connection: Connection) -> Engine:
    """Give an engine that has no other connection."""
    return create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)


def files_one_by_one(connection: Connection) -> None:
    """Add each file by the ORM, and commit."""
    with session_of(connection) as session:
        for each in written():
            file = File()
            for name, value in zip(NAMES, each, strict=True):
                setattr(file, name, value)
            session.add(file)
            session.commit()


def files_at_once(connection: Connection) -> None:
    """Insert all of them by the ORM."""
    with session_of(connection) as session:
        session.execute(insert(File), [dict(zip(NAMES, each, strict=True)) for each in written()])
        session.commit()


def statements_one_by_one(connection: Connection) -> None:
    """Write each file by a statement of the driver, which is a transaction of its own."""
    for each in written():
        connection.execute(FILE, each)


def copied_at_once(connection: Connection) -> None:
    """Write all of them by one COPY."""
    with connection.cursor() as cursor, cursor.copy(COPIED) as copy:
        for each in written():
            copy.write_row(each)


# -- musclemap: the leaderboard, and those who change it -----------------------------------------------------------------

REFRESH = b"refresh materialized view concurrently musclemap.mv_xp_rankings"
JOB = b"call pgopt.refresh_all(array['musclemap.mv_xp_places']::regclass[])"
WON = "update musclemap.users set xp = xp + %s where id = any(%s::uuid[])"
A_SECOND, EVERY = 100, 20
CHANCE = Chance("winners", today())


def refresh_all_places(connection: Connection) -> None:
    """Refresh the ranking, as the plan does."""
    connection.execute(REFRESH)


def refresh_each_hundredth(connection: Connection) -> None:
    """Do what the job at head does every 20 seconds."""
    connection.execute(JOB)


def write_experience(connection: Connection) -> None:
    """Let one of the most active users win."""
    win(connection, [CHANCE.below(20)])


def win(connection: Connection, users: Sequence[int]) -> None:
    """Let some users win, by their numbers."""
    connection.execute(WON, [5 + CHANCE.below(195), [uuid(musclemap.USER, number) for number in users]])


@contextmanager
def after_writes(connection: Connection) -> Iterator[None]:
    """Let those win who do so between two refreshes: active users more often."""
    found = connection.execute("select count(*) from musclemap.users").fetchone()
    assert found is not None
    win(connection, [CHANCE.skewed(found[0]) for _ in range(A_SECOND * EVERY)])
    yield


@contextmanager
def beside_writes(connection: Connection) -> Iterator[None]:
    """Let 100 workouts a second come in meanwhile."""
    stop, ready = threading.Event(), threading.Event()

    def write() -> None:
        info, due = connection.info, time.monotonic()
        try:
            with psycopg.connect(info.dsn, password=info.password, autocommit=True) as writer:
                while not stop.wait(max(0, due - time.monotonic())):
                    write_experience(writer)
                    ready.set()
                    due += 1 / A_SECOND
        finally:
            ready.set()

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(write)
        ready.wait()
        try:
            yield
        finally:
            stop.set()
    working.result()
