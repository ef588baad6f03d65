"""The runner that carries a plan out on the server."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from pgopt.errors import LockNotAcquired, StatementFailed
from pgopt.plan import events
from pgopt.plan.batches import ALL_ROWS, BatchRun, DrainRun
from pgopt.plan.revisions import memory_of
from pgopt.plan.settings import timeout
from pgopt.plan.step import BatchStep, DrainStep, Step
from pgopt.server import locks
from pgopt.server.catalog import Catalog
from pgopt.server.session import (
    DEADLOCK_DETECTED,
    INSUFFICIENT_PRIVILEGE,
    LOCK_NOT_AVAILABLE,
    QUERY_CANCELED,
    UNDEFINED_TABLE,
    is_integrity_violation,
    server_error,
)
from pgopt.server.watch import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from pgopt.plan.events import Report
    from pgopt.plan.journal import Journal
    from pgopt.plan.settings import Settings
    from pgopt.plan.step import AnyStep, Plan
    from pgopt.server.objects import Relation
    from pgopt.server.session import Session
    from pgopt.server.watch import Sight

    Tracing = Callable[[Session, AnyStep], AbstractContextManager[object]]

CONCURRENT_ATTEMPTS = 3
_NOT_TO_BE_LOCKED = (UNDEFINED_TABLE, INSUFFICIENT_PRIVILEGE)


class OnlineRunner:
    """Carries plans out, each step in a transaction of its own; to be used inside `Session.autocommit`.

    `tracing` makes a context around what each step sends, in the step's transaction where it has one.
    """

    def __init__(
        self,
        session: Session,
        settings: Settings,
        journal: Journal,
        report: Report,
        tracing: Tracing | None = None,
    ) -> None:
        self.session = session
        self.settings = settings
        self.journal = journal
        self.report = report
        self.tracing: Tracing = tracing or (lambda *_: nullcontext())
        self.db = Catalog(session, remember=True, memory=memory_of(journal.revision))

        self.changed = False
        """Whether something of a plan may have been done."""
        self._begin: Callable[[], None] = lambda: None

    def run(self, plan: Plan, begin: Callable[[], None] = lambda: None) -> None:
        """Carry a plan out; where there is anything to do, `begin` comes before it."""
        self._begin = begin
        self.report(events.OperationStarted(plan.title, len(plan.steps)))
        for note in plan.notes:
            self.report(events.Note(note))
        for step in plan.steps:
            self._step(step)

    def _step(self, step: AnyStep) -> None:
        if not isinstance(step, BatchStep) and step.done is not None and step.done(self.db):
            self.report(events.StepSkipped(step.label))
            return
        started = time.monotonic()
        self._begin()
        self._begin = lambda: None
        self.report(events.StepStarted(step.label))
        try:
            self._carry_out(step)
        except BaseException:
            # a bar must be gone from the screen before the error is printed
            self.report(events.StepFailed(step.label))
            raise
        self.changed = True
        self.report(events.StepFinished(step.label, time.monotonic() - started))

    def _carry_out(self, step: AnyStep) -> None:
        try:
            if isinstance(step, Step):
                self._clear(step)
                (self._short if step.transaction else self._concurrent)(step)
                return
            self.changed = True
            with self.tracing(self.session, step):
                if isinstance(step, DrainStep):
                    DrainRun(self.session, self.settings, self.report, step).run()
                else:
                    BatchRun(self.session, self.settings, self.journal, self.report, step).run()
        except DBAPIError as error:
            self._explain(step, error)
            raise

    def _explain(self, step: AnyStep, error: DBAPIError) -> None:
        """Say which rows the server means, and leave nothing of the plan behind; or what is gone that the plan was made for."""
        if not self.session.alive:
            return
        if server_error(error).code == UNDEFINED_TABLE:
            raise StatementFailed(
                f"could not {step.label}: {server_error(error).sentence}: if it was there when this began, it was dropped or renamed"
                " since: run again"
            ) from error
        if not isinstance(step, Step) or step.explain is None or not is_integrity_violation(error):
            return
        reason = self._reason(step.explain)
        for each in step.give_up:
            self._step(each)
        raise StatementFailed(f"{server_error(error).sentence}: {reason}") from error

    def _reason(self, explain: Callable[[Catalog], str]) -> str:
        """Ask for the rows, of which a policy may hide some from us, or say why they cannot be shown."""
        try:
            with self.session.settings(ALL_ROWS):
                return explain(self.db)
        except DBAPIError as error:
            if not self.session.alive:
                raise
            return f"the rows cannot be shown ({server_error(error).sentence}); mend them and run again"

    def _clear(self, step: Step) -> None:
        for clearing in step.clear(self.db) if step.clear else ():
            self._step(clearing)

    # -- short steps -------------------------------------------------------------------------------------------------

    def _short(self, step: Step) -> None:
        attempts = len(self._ladder)
        pauses = locks.waits(attempts, first=0.2, longest=self.settings.lock_wait)
        for attempt, patience in enumerate(self._ladder, 1):
            tried = False
            try:
                self._make_ready(step, last=attempt == attempts)
                wanted = locks.allowed(self.session, step.locks) if len(step.locks) > 1 else ()
                tried = True
                self._attempt(step, wanted, patience)
            except (DBAPIError, _OutOfTime) as error:
                if not self.session.alive or not _lost_to_others(error):
                    raise
                # others are in nobody's way as long as only who cleans up was waited for
                beside = locks.cleaned(self.session, () if tried else step.locks, step.beside(self.db))
                wanted = [*(step.locks if tried else ()), *map(locks.of_vacuum, beside)]
                blockers = locks.blockers_of(self.session, wanted)
                if (pause := next(pauses, None)) is None:
                    raise LockNotAcquired(_in_the_way(step, beside, attempts, blockers)) from error
                self.report(events.Retrying(step.label, attempt, attempts, pause, blockers))
                time.sleep(pause)
            else:
                return

    def _attempt(self, step: Step, wanted: Sequence[locks.Lock], patience: float) -> None:
        limits = {"lock_timeout": timeout(patience), "statement_timeout": "0", **_no_transaction_timeout(self.session)}
        if any(each.mode.blocks_writes for each in step.locks):
            # who is kept out need not wait for the disk, or for a standby, too: whatever comes next is written after this
            limits["synchronous_commit"] = "off"
        with self.session.transaction(limits), self.tracing(self.session, step):
            if not wanted:
                self._send(step)
                return
            until = time.monotonic() + min(patience, self._deadlock_timeout * locks.HARMLESS)
            self._lock_all(wanted, until)
            # locks of indexes cannot be taken before; what is left of the time holds for them
            with self.session.gathered(lambda held: locks.together(held, until - time.monotonic())):
                self._send(step)

    def _send(self, step: Step) -> None:
        for statement in step.compose(self.db):
            self.session.run(statement)

    def _make_ready(self, step: Step, *, last: bool) -> None:
        """Do what is done before an attempt, once more where others had to be waited for then."""
        for each in step.before:
            self._step(each)
        if self._have_vacuum_give_way(step, last=last):
            for each in step.before:
                self._step(each)

    def _have_vacuum_give_way(self, step: Step, *, last: bool) -> bool:
        """Wait where a table is being vacuumed, for so long that an autovacuum gives way, by a lock that keeps no application out.

        Each is waited for alone, holding nothing. Who is still at work then would mostly be in the way of the step's own locks, too:
        only the last attempt is made all the same.
        """
        found = locks.cleaned(self.session, step.locks, step.beside(self.db))
        for each in found:
            try:
                with self.session.rolled_back():
                    self.session.set({"lock_timeout": timeout(self._ladder[-1]), "statement_timeout": "0"}, local=True)
                    self.session.run(locks.lock_as_vacuum(each))
            except DBAPIError as error:
                # others may have dropped it, and the step may do without it
                given_up = last and _lost_to_others(error)
                if not self.session.alive or not (given_up or server_error(error).code in _NOT_TO_BE_LOCKED):
                    raise
        return bool(found)

    def _lock_all(self, wanted: Sequence[locks.Lock], until: float) -> None:
        """Take all locks in the time that is left: lock_timeout counts for each anew, statement_timeout for all."""
        try:
            for statement in locks.lock_tables(wanted):
                self.session.set({"statement_timeout": timeout(until - time.monotonic())}, local=True)
                self.session.run(statement)
            self.session.set({"statement_timeout": "0", "lock_timeout": timeout(until - time.monotonic())}, local=True)
        except DBAPIError as error:
            # the time may be over when the last lock is there
            if server_error(error).code == QUERY_CANCELED and time.monotonic() >= until:
                raise _OutOfTime from error
            raise

    @cached_property
    def _ladder(self) -> list[float]:
        """Give the lock timeouts of the attempts: growing, and at last longer than deadlock_timeout.

        An autovacuum gives way only to somebody who has waited for deadlock_timeout.
        """
        attempts, longest = max(1, self.settings.lock_attempts), self.settings.lock_timeout
        # step by step: a power of thousands of attempts is no number any more
        rungs = [min(longest, 0.1)]
        while len(rungs) < attempts:
            rungs.append(min(longest, rungs[-1] * 1.25))
        rungs[-1] = max(longest, self._deadlock_timeout * 1.5)
        return rungs

    @cached_property
    def _deadlock_timeout(self) -> float:
        return locks.deadlock_timeout(self.session)

    # -- steps that cannot run in a transaction ----------------------------------------------------------------------

    def _concurrent(self, step: Step) -> None:
        with self.session.settings(long_limits(self.session, self.settings)):
            for attempt in range(1, CONCURRENT_ATTEMPTS + 1):
                started = time.monotonic()
                try:
                    with (
                        self.tracing(self.session, step),
                        watched(self.session, self.settings.watch_after, partial(self._show, step.label)),
                    ):
                        self.session.run(*step.statements)
                except DBAPIError as error:
                    if not self.session.alive:
                        raise
                    self._after_failure(step, error, time.monotonic() - started)
                    if server_error(error).code != DEADLOCK_DETECTED or attempt == CONCURRENT_ATTEMPTS:
                        raise
                    self.report(events.Retrying(step.label, attempt, CONCURRENT_ATTEMPTS, 0, []))
                else:
                    return

    def _show(self, label: str, sight: Sight) -> None:
        self.report(events.StepProgress(label, sight.phase, sight.done, sight.total, sight.unit, sight.blockers))

    def _after_failure(self, step: Step, error: DBAPIError, seconds: float) -> None:
        """Leave nothing half-done behind, and say who stood in the way where that was the reason."""
        failure = server_error(error)
        in_the_way = locks.older_than(self.session, seconds) if failure.code == LOCK_NOT_AVAILABLE else []
        left = self._clear_up(step)
        if failure.code == LOCK_NOT_AVAILABLE:
            who = locks.one_a_line(in_the_way)
            raise LockNotAcquired(
                f"could not {step.label}: it waited {seconds:.1f} s for older transactions{left}; in its way:{who}"
            ) from error
        if left:
            raise StatementFailed(f"{failure.sentence}{left}") from error

    def _clear_up(self, step: Step) -> str:
        """Remove what a failure left, or say why not: an invalid unique index still refuses rows."""
        before, self.changed = self.changed, True
        try:
            self._clear(step)
        except (DBAPIError, LockNotAcquired) as error:
            # who was in the way of that is in the way of the step, too
            why = server_error(error).sentence if isinstance(error, DBAPIError) else str(error).partition(";")[0]
            return f"; what it left behind could not be removed now, the next run will remove it ({why})"
        # what has nothing to clear may be half-done
        self.changed = before or step.clear is None
        left = step.explain(self.db) if step.explain and not step.clear else ""
        return f"; {left}" if left else ""


def long_limits(session: Session, settings: Settings) -> dict[str, str]:
    """Give the settings under which an operation works, whatever the role or the database have.

    What waits for old transactions would be killed by a short timeout, and leave an invalid index behind. A short step has
    limits of its own.
    """
    return {
        "lock_timeout": timeout(settings.concurrent_timeout),
        "statement_timeout": "0",
        # of the pauses between attempts
        "idle_session_timeout": "0",
        **_no_transaction_timeout(session),
    }


def _no_transaction_timeout(session: Session) -> dict[str, str]:
    return {"transaction_timeout": "0"} if session.version >= 170000 else {}


class _OutOfTime(Exception):
    """The time for all locks of a step together is over."""


def _lost_to_others(error: DBAPIError | _OutOfTime) -> bool:
    return isinstance(error, _OutOfTime) or server_error(error).code in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED)


def _in_the_way(step: Step, beside: Sequence[Relation], attempts: int, blockers: list[locks.Blocker]) -> str:
    said = " or ".join(filter(None, (", ".join(map(str, step.locks)), "what came with it" if beside else "")))
    who = locks.one_a_line(blockers)
    return f"could not {step.label}: others kept it from {said} in {attempts} attempts; nothing was changed by this step:{who}"
