"""One runner at a time: the advisory lock on what an operation is about, with the settings that it works under."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgopt.errors import RunnerBusy
from pgopt.server.catalog import Catalog
from pgopt.server.locks import who
from pgopt.server.queries import query
from pgopt.server.quoting import joined, literal, render, sql, verbatim
from pgopt.server.session import changing, current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from psycopg.sql import Composable

    from pgopt.server.objects import TableNamed
    from pgopt.server.session import Session

    Waiting = Callable[[str, "Holder | None"], Any]


@dataclass(frozen=True)
class Holder:
    """Who is at work: not with its last statement, which is mostly one of pgopt's own questions."""

    pid: int
    user: str | None
    application: str | None
    age: float | None
    """For how long it has been connected, where one may know that."""

    def __str__(self) -> str:
        named = who(self.pid, self.user, self.application)
        return named if self.age is None else f"{named}, connected for {self.age:.1f} s"


@dataclass(frozen=True)
class Claim:
    """What a runner has to itself."""

    what: str
    told: Any
    """The answer to what was asked along."""


@contextmanager
def alone(
    session: Session,
    subject: str | TableNamed,
    settings: Mapping[str, str],
    *,
    patience: float,
    waiting: Waiting,
    along: Composable | None = None,
) -> Iterator[Claim]:
    """Be the only runner at work on something, for a block, in which the session has other settings.

    One statement looks the table up, tries the lock, changes the settings and answers what is asked along; another takes
    both back. What was looked up may have changed before the lock was there: look again.
    """
    about = verbatim("null") if along is None else along
    with _given_back_on_error(session, subject):
        what, told, taken, before = session.row(_enter(subject, settings, about))
    held = bool(taken)
    try:
        with session.in_force(settings):
            if not held:
                what = _wait(session, subject, patience=patience, waiting=waiting)
            held = True
            yield Claim(what, told)
    finally:
        if session.alive:
            was = zip(settings, before, strict=True)
            session.rows(
                _leave(what if held else None, {name: value for name, value in was if value != settings[name]})
            )


def take(session: Session, subject: str | TableNamed, *, patience: float, waiting: Waiting) -> None:
    """Become the only runner at work on something, until `release` or the end of the session."""
    if not _taken(session, subject)[1]:
        _wait(session, subject, patience=patience, waiting=waiting)


def full_name(session: Session, subject: str | TableNamed) -> str | None:
    """Give what would be locked, where that is there."""
    found = session.value(sql("select {}", _name(subject)))
    return None if found is None else str(found)


def release(session: Session, what: str) -> None:
    """Let others work on it; the server does so itself when the session ends."""
    session.value(sql("select pg_advisory_unlock({})", lock_number(literal(what))))


def lock_number(what: Composable) -> Composable:
    """Give the 64-bit key of an advisory lock, which the server computes, since it may have looked the name up."""
    return sql("hashtextextended({}, 0)", what)


def _wait(session: Session, subject: str | TableNamed, *, patience: float, waiting: Waiting) -> str:
    """Poll until the lock is free.

    A session that waits for an advisory lock holds a snapshot, and CREATE INDEX CONCURRENTLY of the one that has the lock
    would wait for that snapshot for ever.
    """
    give_up = time.monotonic() + patience
    told = False
    while True:
        what, taken = _taken(session, subject)
        if taken:
            return str(what)
        holder = holder_of(session, what)
        if time.monotonic() >= give_up:
            raise RunnerBusy(f"another pgopt run is at work on {what}: {holder or 'it has just ended, try again'}")
        if not told:
            waiting(what, holder)
            told = True
        time.sleep(0.2)


def _taken(session: Session, subject: str | TableNamed) -> tuple[str, bool]:
    """Try the lock, and tell on what: what has no name any more is refused."""
    with _given_back_on_error(session, subject):
        what, taken = session.row(
            sql("select what, pg_try_advisory_lock({}) from ({}) a", lock_number(sql("what")), _about(subject))
        )
    if what is None and not isinstance(subject, str):
        return str(Catalog(session).table(subject.name, subject.schema)), False
    return what, taken


@contextmanager
def _given_back_on_error(session: Session, subject: str | TableNamed) -> Iterator[None]:
    """Give the lock back where the statement that tries it fails: it belongs to the session, and no rollback ends it."""
    try:
        yield
    except BaseException:
        if session.alive:
            # what has cancelled the statement must not cancel this one, too
            with session.transaction({"statement_timeout": "0"}):
                session.rows(_unlock_what_is_held(subject))
        raise


def _unlock_what_is_held(subject: str | TableNamed) -> Composable:
    unlock = sql("select pg_advisory_unlock({}) from ({}) a", lock_number(sql("what")), _about(subject))
    return sql(
        "{} where exists (select from pg_locks l where pid = pg_backend_pid() and {})", unlock, _is_lock_on(sql("what"))
    )


def _is_lock_on(what: Composable) -> Composable:
    return sql(
        "l.locktype = 'advisory' and l.granted and l.objsubid = 1"
        " and l.database = (select oid from pg_database where datname = current_database())"
        " and (l.classid::int8 << 32 | l.objid::int8) = {}",
        lock_number(what),
    )


def _about(subject: str | TableNamed) -> Composable:
    return sql("select {} as what", _name(subject))


def _name(subject: str | TableNamed) -> Composable:
    if isinstance(subject, str):
        return sql("{}::text", literal(subject))
    found = query("name", relation=sql("to_regclass({})", literal(render(subject.ident))))
    if not subject.may_be_missing:
        return found
    # as the server calls it once it is there
    return sql("coalesce({}, format('%I.%I', {}, {}))", found, _schema_of_new(subject), literal(subject.name))


def _schema_of_new(subject: TableNamed) -> Composable:
    return literal(subject.schema) if subject.schema is not None else sql("current_schema()")


def _enter(subject: str | TableNamed, settings: Mapping[str, str], along: Composable) -> Composable:
    return query(
        "enter",
        before=current(tuple(settings)),
        what=_name(subject),
        along=along,
        key=lock_number(sql("what")),
        settings=changing(tuple(settings.items())),
    )


def _leave(what: str | None, settings: Mapping[str, str]) -> Composable:
    unlock = sql("pg_advisory_unlock({})", lock_number(literal(what))) if what is not None else verbatim("null")
    return sql("select {}", joined([unlock, changing(tuple(settings.items()))] if settings else [unlock]))


def holder_of(session: Session, what: str) -> Holder | None:
    """Tell who is at work on something."""
    row = session.row(
        sql(
            "select a.pid, a.usename, a.application_name, extract(epoch from clock_timestamp() - a.backend_start)::float8"
            " from pg_locks l join pg_stat_activity a using (pid) where {}",
            _is_lock_on(literal(what)),
        )
    )
    return row and Holder(*row)
