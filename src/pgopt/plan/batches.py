"""Carries a batch step out: short transactions by key, each of which writes down how far it came."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from pgopt.errors import LockNotAcquired, NotInstalled
from pgopt.plan import events
from pgopt.server import locks
from pgopt.server.keys import KeyRange, edge_of, end_of
from pgopt.server.quoting import ident, literal, render, sql, verbatim
from pgopt.server.session import (
    DEADLOCK_DETECTED,
    LOCK_NOT_AVAILABLE,
    QUERY_CANCELED,
    SERIALIZATION_FAILURE,
    server_error,
)
from pgopt.server.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from pgopt.plan.events import Report
    from pgopt.plan.journal import Journal
    from pgopt.plan.settings import Settings
    from pgopt.plan.step import BatchStep
    from pgopt.server.session import Session

INSTALL = "op.install_pgopt(version=1)"


class BatchRun:
    """One run over the rows of one batch step, from where the last one stopped."""

    def __init__(self, session: Session, settings: Settings, journal: Journal, report: Report, step: BatchStep) -> None:
        if not journal.installed:
            raise NotInstalled(
                f"batches are resumed by what the pgopt schema remembers: add `{INSTALL}` to a revision before"
            )
        self.session = session
        self.settings = settings
        self.report = report
        self.step = step
        self.memory = _Memory(session, journal, step)
        self.size = settings.batch_rows
        self.started = 0.0
        self.throttle = Throttle(session, settings.replication_lag, settings.wal_rate)
        # a transaction that is shorter than deadlock_timeout never makes somebody else the victim of a deadlock
        deadlock = session.value("select extract(epoch from current_setting('deadlock_timeout')::interval)")
        self.longest = float(deadlock) * 0.8

    def run(self) -> None:
        """Work through the batches that are left."""
        end = self.memory.begin(end_of(self.session, self.step.table, self.step.key))
        if end is None:
            return
        total = max(
            0,
            round(
                self.session.value(sql("select reltuples from pg_class where oid = {}", literal(self.step.table.oid)))
            ),
        )
        while not self.memory.finished:
            self._one_batch(end)
            self.report(
                events.StepProgress(self.step.label, "rows", self.memory.keys, max(total, self.memory.keys), "rows")
            )
            for reason, wait in self.throttle.reasons():
                self.report(events.Throttled(self.step.label, reason, wait))
                time.sleep(wait)
            time.sleep(self.settings.batch_pause)

    def _one_batch(self, end: Sequence[str]) -> None:
        attempts = self.settings.lock_attempts
        pauses = locks.waits(attempts, first=0.1, longest=self.settings.lock_wait)
        for attempt in range(1, attempts + 1):
            keys = KeyRange(self.step.key, self.memory.last, end)
            edge = edge_of(self.session, self.step.table, keys, self.size)
            try:
                self._transaction(KeyRange(self.step.key, self.memory.last, edge or end), last=edge is None)
            except DBAPIError as error:
                if not self.session.alive or not self._others_came_first(error):
                    raise
                # who holds a row is not to be seen afterwards, who writes to the table is
                table = locks.Lock(locks.Mode.SHARE, self.step.table.name, self.step.table.schema)
                blockers = locks.blockers_of(self.session, [table])
                self.size = max(1, self.size // 4)
                if (pause := next(pauses, None)) is None:
                    raise LockNotAcquired(
                        f"could not {self.step.label}: rows were held by others in {attempts} attempts; what is done is kept,"
                        f" run again to go on. At work on the table:{locks.one_a_line(blockers)}"
                    ) from error
                self.report(events.Retrying(self.step.label, attempt, attempts, pause, blockers))
                time.sleep(pause)
            else:
                return

    def _transaction(self, keys: KeyRange, *, last: bool) -> None:
        self.started = time.monotonic()
        # a single row cannot be part of a deadlock, and may take as long as its triggers do
        limits = {
            "statement_timeout": "0" if self.size == 1 else f"{round(self.longest * 1000)}ms",
            "lock_timeout": f"{round(self.settings.lock_timeout * 1000)}ms",
            "datestyle": "ISO, MDY",
        }
        with self.session.transaction(limits):
            touched = self.session.count(self.step.statement(keys.condition()))
            waiting = self.memory.advance(keys.upto, touched, self.size, finished=last)
        self._adapt(time.monotonic() - self.started, waiting)

    def _adapt(self, seconds: float, waiting: int) -> None:
        factor = min(2.0, max(0.25, self.settings.batch_seconds / max(seconds, 0.001)))
        if waiting:
            factor = min(factor, 0.5)
        self.size = max(1, min(self.settings.batch_most, round(self.size * factor)))

    def _others_came_first(self, error: DBAPIError) -> bool:
        said = server_error(error)
        if said.code == QUERY_CANCELED:
            # by our own statement_timeout, not by somebody who wants this to end
            return self.size > 1 and time.monotonic() - self.started >= self.longest
        return said.code in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, SERIALIZATION_FAILURE)


def _name(step: BatchStep) -> str:
    """Tell a step from others of its revision on the same table: by what it does, and by which key."""
    statement = render(step.statement(verbatim("true")))
    digest = hashlib.blake2b(statement.encode(), digest_size=8).hexdigest()
    return f"{step.label} ({', '.join(step.key)}) {digest}"


class _Memory:
    """The row of `pgopt.progress` that belongs to a step."""

    def __init__(self, session: Session, journal: Journal, step: BatchStep) -> None:
        self.session = session
        revision = journal.revision
        self.identity = (
            journal.chain,
            revision.id if revision else "",
            revision.direction if revision else "",
            journal.task(_name(step)),
        )
        self.last: Sequence[str] | None = None
        self.keys = 0
        self.finished = False

    def begin(self, end: Sequence[str] | None) -> Sequence[str] | None:
        """Take up what an earlier run left, or begin with this end."""
        row = self.session.row(
            sql(
                "select last_key, end_key, keys_done, finished_at is not null from pgopt.progress where {}",
                self._where(),
            )
        )
        if row is not None:
            self.last, stored, self.keys, self.finished = row
            if self.finished and not self.identity[1]:
                # outside of a revision nothing tells an interrupted call from a new one, once it is finished
                self.session.run(sql("delete from pgopt.progress where {}", self._where()))
                self.last, self.keys, self.finished = None, 0, False
            else:
                return stored  # type: ignore[no-any-return]
        if end is None:
            return None
        self.session.run(
            sql(
                "insert into pgopt.progress (chain, revision, direction, task, end_key) values ({}, {}, {}, {}, {})",
                *map(literal, (*self.identity, list(end))),
            )
        )
        return end

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
