"""What a run tells while it goes on. Reporters turn events into lines or bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgopt.server.locks import Blocker
    from pgopt.server.runners import Holder


@dataclass(frozen=True)
class Event:
    """Something happened."""


@dataclass(frozen=True)
class OperationStarted(Event):
    """An operation begins; so many steps are planned."""

    title: str
    steps: int


@dataclass(frozen=True)
class Note(Event):
    """A sentence that somebody should read."""

    text: str


@dataclass(frozen=True)
class StepStarted(Event):
    """A step begins."""

    label: str


@dataclass(frozen=True)
class StepSkipped(Event):
    """A step was done already."""

    label: str


@dataclass(frozen=True)
class StepFinished(Event):
    """A step is done."""

    label: str
    seconds: float


@dataclass(frozen=True)
class StepFailed(Event):
    """A step ended in an error, which is on its way up."""

    label: str


@dataclass(frozen=True)
class StepProgress(Event):
    """How far a long step is."""

    label: str
    phase: str
    done: int
    total: int
    unit: str
    blockers: Sequence[Blocker] = ()


@dataclass(frozen=True)
class Retrying(Event):
    """A step did not get its lock, or its rows, and tries again."""

    label: str
    attempt: int
    attempts: int
    wait: float
    blockers: Sequence[Blocker]


@dataclass(frozen=True)
class WaitingForRunner(Event):
    """Another run is at work on the same table."""

    what: str
    holder: Holder | None


@dataclass(frozen=True)
class Throttled(Event):
    """Batches pause for the sake of others."""

    label: str
    reason: str
    wait: float


Report = Callable[[Event], None]
