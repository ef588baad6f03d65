"""Carries a batch step out: short transactions by key, each of which writes down how far it came."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError

from pgopt.errors import INSTALL, InvalidOperation, LockNotAcquired, NotInstalled
from pgopt.plan import events
from pgopt.plan.settings import timeout
from pgopt.plan.step import by_columns
from pgopt.plan.undoing import work_of
from pgopt.server import locks
from pgopt.server.keys import ByKey, ByPage, Rewritten, columns_of
from pgopt.server.quoting import ident, literal, sql, verbatim
from pgopt.server.session import (
    DEADLOCK_DETECTED,
    LOCK_NOT_AVAILABLE,
    QUERY_CANCELED,
    SERIALIZATION_FAILURE,
    UNIQUE_VIOLATION,
    server_error,
)
from pgopt.server.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.plan.events import Report
    from pgopt.plan.journal import Journal
    from pgopt.plan.settings import Settings
    from pgopt.plan.step import BatchStep, DrainStep
    from pgopt.server.objects import Relation
    from pgopt.server.session import Session

T = TypeVar("T")


ALL_ROWS = {"row_security": "off"}
"""An error where a policy would hide rows, instead of work on those alone that are seen."""


class Turns:
    """Short transactions one after the other, as large as they may be, and smaller where others come first."""

    def __init__(
        self, session: Session, settings: Settings, report: Report, label: str, table: Relation, noun: str = "rows"
    ) -> None:
        self.session = session
        self.settings = settings
        self.report = report
        self.label = label
        self.table = table
        self.noun = noun
        self.size = settings.batch_rows
        self.started = 0.0
        self.cut_off = inf
        """When our own timeout ends what is being done."""
        self.throttle = Throttle(session, settings.replication_lag, settings.wal_rate)
        if self.throttle.blind:
            report(
                events.Note(
                    f"{label} waits for no standby: this role cannot see how far behind one is; grant it pg_monitor"
                )
            )
        self.longest = locks.deadlock_timeout(session) * locks.HARMLESS

    def repeat(self, turn: Callable[[], T]) -> T:
        """Take a turn, again and smaller when others came first."""
        attempts = self.settings.lock_attempts
        pauses = locks.waits(attempts, first=0.1, longest=self.settings.lock_wait)
        attempt = 0
        while True:
            attempt += 1
            self.cut_off = inf
            try:
                return turn()
            except DBAPIError as error:
                if not self.session.alive or not self._others_came_first(error):
                    raise
                # who holds a row is not to be seen afterwards, who writes to the table is
                table = locks.Lock(locks.Mode.SHARE, self.table.name, self.table.schema)
                blockers = locks.blockers_of(self.session, [table])
                self.size = max(1, self.size // 4)
                if (pause := next(pauses, None)) is None:
                    raise LockNotAcquired(
                        f"could not {self.label}: rows were held by others in {attempts} attempts; what is done is kept,"
                        f" run again to go on. At work on the table:{locks.one_a_line(blockers)}"
                    ) from error
                self.report(events.Retrying(self.label, attempt, attempts, pause, blockers))
                time.sleep(pause)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run one turn's transaction."""
        self.started = time.monotonic()
        # a single row cannot be part of a deadlock, and may take as long as its triggers do
        self.cut_off = inf if self.size == 1 else self.started + self.longest
        limits = {
            "statement_timeout": "0" if self.size == 1 else timeout(self.longest),
            "lock_timeout": timeout(self.settings.lock_timeout),
            **ALL_ROWS,
        }
        with self.session.transaction(limits):
            yield

    def adapt(self, waiting: int = 0) -> None:
        """Choose the size of the next turn by the time that the last one took, and by who waits."""
        seconds = time.monotonic() - self.started
        factor = min(2.0, max(0.25, self.settings.batch_seconds / max(seconds, 0.001)))
        if waiting:
            factor = min(factor, 0.5)
        self.size = max(1, min(self.settings.batch_most, round(self.size * factor)))

    def rest(self, done: int, total: int) -> None:
        """Tell how far it came, and wait where others need it."""
        self.report(events.StepProgress(self.label, self.noun, done, max(total, done), self.noun))
        for reason, wait in self.throttle.reasons():
            self.report(events.Throttled(self.label, reason, wait))
            time.sleep(wait)
        time.sleep(self.settings.batch_pause)

    def _others_came_first(self, error: DBAPIError) -> bool:
        said = server_error(error)
        if said.code == QUERY_CANCELED:
            # not by somebody who wants this to end
            return time.monotonic() >= self.cut_off
        return said.code in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, SERIALIZATION_FAILURE)


class BatchRun:
    """One run over the rows of one batch step, from where the last one stopped."""

    def __init__(self, session: Session, settings: Settings, journal: Journal, report: Report, step: BatchStep) -> None:
        if not journal.installed:
            raise NotInstalled(
                f"batches are resumed by what the pgopt schema remembers: add `{INSTALL}` to an earlier revision"
            )
        self.session = session
        self.step = step
        self.memory = _Memory(session, journal, step)
        self.cut = (
            ByPage(step.table, step.into)
            if step.into is not None
            else ByKey(step.table, columns_of(session, step.table, step.key))
        )
        self.turns = Turns(session, settings, report, step.label, step.table)

    def run(self) -> None:
        """Work through the batches that are left."""
        # the keys between which there is something to do are those of all rows, too
        with self.session.settings(ALL_ROWS):
            self._run()

    def _run(self) -> None:
        end = self.memory.begin(self.cut)
        if end is None:
            return
        total = self._rows()
        while not self.memory.finished:
            try:
                self.turns.repeat(partial(self._turn, end))
            except Rewritten:
                self._begin_anew()
                self._run()
                return
            self.turns.rest(self.memory.keys, total)

    def _rows(self) -> int:
        rows = self.session.value(sql("select reltuples from pg_class where oid = {}", literal(self.step.table.oid)))
        # a table that somebody has dropped is missed by the first batch
        return max(0, round(float(rows or 0)))

    def _turn(self, end: Sequence[str]) -> None:
        turns, memory = self.turns, self.memory
        edge = self.cut.edge(self.session, memory.last, end, turns.size)
        with turns.transaction():
            touched = max(0, self.session.count(self.step.statement(self.cut.condition(memory.last, edge or end))))
            self.cut.check(self.session, end)
            keys = turns.size if self.step.key else touched
            waiting = memory.advance(edge or end, touched, keys, finished=edge is None)
        turns.adapt(waiting)

    def _begin_anew(self) -> None:
        with self.session.transaction():
            self.session.run(*self.step.restart)
            self.memory.forget()


class DrainRun:
    """One run of a drain step."""

    def __init__(self, session: Session, settings: Settings, report: Report, step: DrainStep) -> None:
        self.session = session
        self.step = step
        self.turns = Turns(session, settings, report, step.label, step.table, "changes")

    def run(self) -> None:
        """Take what is waiting until little is left."""
        taken = 0
        while True:
            last = self.turns.repeat(self._turn)
            taken += last
            if last <= self.step.enough:
                return
            self.turns.rest(taken, taken)

    def _turn(self) -> int:
        try:
            taken = self._take(self.turns.size)
        except DBAPIError as error:
            if server_error(error).code != UNIQUE_VIOLATION or not self.session.alive:
                raise
            # a row has come to its key before the one that gave it up is gone; of all together, only the last state counts
            taken = self._take(None)
        self.turns.adapt()
        return taken

    def _take(self, most: int | None) -> int:
        self.turns.started = time.monotonic()
        # what is waiting, and what it is about, are to be of one moment; nobody waits for this, however long it takes
        with self.session.transaction(
            {"statement_timeout": "0", **ALL_ROWS}, begin="begin isolation level repeatable read"
        ):
            return int(self.session.change(self.step.take(most)))


class _Memory:
    """The row of `pgopt.progress` that belongs to a step."""

    def __init__(self, session: Session, journal: Journal, step: BatchStep) -> None:
        self.session = session
        self.label, self.until, self.key = step.label, step.until, step.key
        revision = journal.revision
        self.identity = (
            journal.chain,
            revision.id if revision else "",
            revision.direction if revision else "",
            journal.task(step.task),
        )
        self.last: Sequence[str] | None = None
        self.keys = 0
        self.finished = False

    def begin(self, cut: ByKey | ByPage) -> Sequence[str] | None:
        """Take up what an earlier run left, or begin, and give the end; nothing where there are no rows."""
        row = self.session.row(
            sql(
                "select last_key, end_key, keys_done, finished_at is not null from pgopt.progress where {}",
                self._where(),
            )
        )
        if row is not None:
            self.last, stored, self.keys, self.finished = row
            if cut.goes_on(self.session, stored, finished=self.finished, named=bool(self.identity[1])):
                return stored  # type: ignore[no-any-return]
            self.forget()
        elif self.identity[1]:
            self._refuse_another_key()
        end = self.until or cut.end(self.session)
        if end is None:
            return None
        self.session.run(
            sql(
                "insert into pgopt.progress (chain, revision, direction, task, key, end_key) values ({}, {}, {}, {}, {}, {})",
                *map(literal, (*self.identity, list(self.key), list(end))),
            )
        )
        return end

    def _refuse_another_key(self) -> None:
        """Refuse to begin by one key what an earlier run has begun by another, and not finished."""
        *whose, task = self.identity
        begun = self.session.rows(
            sql(
                "select task, key from pgopt.progress where (chain, revision, direction) = ({}, {}, {}) and finished_at is null",
                *map(literal, whose),
            )
        )
        mine = work_of(task, self.key)
        for other, key in begun:
            if work_of(other, key) == mine:
                raise InvalidOperation(
                    f"{self.label} was begun by {by_columns(key)}, and would go by {by_columns(self.key)} now, so that rows would be done"
                    f" twice: say key={list(key)!r}, or take the revision back with `pgopt undo {whose[1]}`"
                )

    def forget(self) -> None:
        """Begin with nothing the next time."""
        self.session.run(sql("delete from pgopt.progress where {}", self._where()))
        self.last, self.keys, self.finished = None, 0, False

    def advance(self, last: Sequence[str], rows: int, keys: int, *, finished: bool) -> int:
        """Write down a batch in its own transaction, and tell how many sessions wait for it."""
        waiting = self.session.value(
            sql(
                "update pgopt.progress set last_key = {}, rows_done = rows_done + {}, keys_done = keys_done + {},"
                " seen_at = now(), finished_at = {} where {} returning (select count(*) from pg_stat_activity a"
                " where a.wait_event_type = 'Lock' and pg_backend_pid() = any(pg_blocking_pids(a.pid)))",
                *map(literal, (list(last), rows, keys)),
                verbatim("now()" if finished else "null"),
                self._where(),
            )
        )
        self.last, self.finished, self.keys = last, finished, self.keys + keys
        return int(waiting)

    def _where(self) -> Composable:
        names = ("chain", "revision", "direction", "task")
        return sql("({}, {}, {}, {}) = ({}, {}, {}, {})", *map(ident, names), *map(literal, self.identity))
