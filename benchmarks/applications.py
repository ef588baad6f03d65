"""What the applications of the reference chain do in many statements, in Python rather than in one text."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from tools.data import musclemap, vibing2
from tools.data.chance import Chance, cuid, today, uuid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
FILE = 'insert into vibing2."ProjectFile" (id, "projectId", path, language, content) values (%s, %s, %s, %s, %s)'
COPIED = 'copy vibing2."ProjectFile" (id, "projectId", path, language, content) from stdin'
NUMBERS = itertools.count()


def written() -> list[tuple[str, ...]]:
    """Give files that were never there."""
    numbers = itertools.islice(NUMBERS, FILES)
    return [(f"bench {n}", LONG_PROJECT, f"src/bench{n}.ts", "typescript", "let it = be;" * 50) for n in numbers]


def files_one_by_one(connection: Connection) -> None:
    """Write each file in a transaction of its own."""
    for each in written():
        connection.execute(FILE, each)


def files_at_once(connection: Connection) -> None:
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
        with psycopg.connect(connection.info.dsn, autocommit=True) as writer:
            while not stop.wait(1 / A_SECOND):
                write_experience(writer)
                ready.set()

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(write)
        ready.wait()
        try:
            yield
        finally:
            stop.set()
    working.result()
