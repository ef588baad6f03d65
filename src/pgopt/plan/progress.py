"""Reporters: events as a live bar at a terminal, and as plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

from pgopt.plan import events as e

if TYPE_CHECKING:
    from pgopt.plan.events import Event, Report

# below Alembic's own logger, so that every alembic.ini shows it without a line of its own
log = logging.getLogger("alembic.pgopt")

LINE_EVERY = 10.0


def reporter() -> Report:
    """Give the reporter for where the output goes."""
    if sys.stderr.isatty():
        try:
            from pgopt.plan.bars import Bars
        except ImportError:  # rich comes with the extra `cli`
            pass
        else:
            return Bars()
    return Lines()


def be_heard() -> None:
    """Have warnings seen where nobody has set logging up: Alembic has a handler that swallows all, so that Python's own is not asked."""
    logger: logging.Logger | None = log
    while logger is not None:
        if any(not isinstance(each, logging.NullHandler) for each in logger.handlers):
            return
        logger = logger.parent
    if logging.lastResort is not None:
        log.addHandler(logging.lastResort)


class Lines:
    """One log line for each thing that happened; of what goes on, and of why it waits, one every ten seconds."""

    def __init__(self) -> None:
        be_heard()
        self.shown: dict[type[Event], float] = {e.StepProgress: time.monotonic()}

    def __call__(self, event: Event) -> None:
        """Log an event, if it is worth a line."""
        if isinstance(event, e.StepProgress | e.Throttled):
            if time.monotonic() - self.shown.get(type(event), -LINE_EVERY) < LINE_EVERY:
                return
            self.shown[type(event)] = time.monotonic()
        line = text_of(event)
        if line is not None:
            log.log(logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO, "%s", line)


_WARNINGS = (e.Note, e.Retrying, e.Throttled, e.WaitingForRunner)
"""What is to be seen where nobody has asked for more than warnings."""


def text_of(event: Event) -> str | None:
    """Say an event in one line, or several where sessions are named."""
    match event:
        case e.OperationStarted(title):
            return title
        case e.Note(text):
            return text
        case e.StepSkipped(label):
            return f"  {label}: done already"
        case e.StepFinished(label, seconds):
            return f"  {label}: {duration(seconds)}"
        case e.StepFailed(label):
            return f"  {label}: failed"
        case e.StepProgress(label, phase, done, total, unit, blockers):
            amount = f", {done:,} of {total:,} {unit} ({done / total:.0%})" if total else ""
            return f"  {label}: {phase}{amount}" + _lines(", waiting for", blockers)
        case e.Retrying(label, attempt, attempts, wait, blockers):
            return f"  {label}: attempt {attempt} of {attempts} was in vain, again in {wait:.1f} s" + _lines(
                "", blockers
            )
        case e.WaitingForRunner(what, holder):
            return f"  waiting for another pgopt run on {what}" + _lines("", [holder] if holder else [])
        case e.Throttled(label, reason, wait):
            return f"  {label}: {reason}, waiting {wait:.1f} s"
    return None


def duration(seconds: float) -> str:
    """Say a time as people do."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _lines(word: str, blockers: object) -> str:
    return word * bool(blockers) + "".join(f"\n    {blocker}" for blocker in blockers)  # type: ignore[attr-defined]
