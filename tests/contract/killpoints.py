"""How many kill points were exercised: counted here, added up over the workers, and said at the end of the run."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Ending = TypeVar("Ending")

# set for the processes of pytest-xdist, too, which draw the same
SEED = os.environ.setdefault("PGOPT_KILL_SEED", str(random.randrange(100_000)))
"""Draws the statements at which all examples are interrupted; printed at the end of the run, to be set again."""

IN_TURN = bool(os.environ.get("PGOPT_KILLS_IN_TURN"))
"""Whether every sixteenth statement of the named examples sees one failure and one of its endings, as in `.ci/run`, instead of all."""

LEAST = 22_000 // (256 if IN_TURN else 1)
"""What the named examples had when this was last looked at; it may grow, and not fall. In turn the seed says how many have one: half."""


def in_turn(points: Sequence[int], which: int, count: int) -> list[int]:
    """Give the points at which one of so many failures has its turn; the seed says who begins."""
    return [at for at in points if (at + int(SEED)) % count == which]


def ending_in_turn(endings: Sequence[Ending], at: int, count: int) -> Sequence[Ending]:
    """Give the ending whose turn it is at a point, where each failure has every so-many-th point; or all of them."""
    return [endings[(at + int(SEED)) // count % len(endings)]] if IN_TURN else endings


@dataclass
class Tally:
    """The kill points of a run, or of one of its workers."""

    points: Counter[str] = field(default_factory=Counter)
    """Kill points by example."""
    named: int = 0
    """Those of the named examples between statements."""
    complete: bool = False
    """Whether the run has all named examples, so that their number says something."""

    def told(self) -> dict[str, Any]:
        """Give what a worker tells, as plain values."""
        return {"points": dict(self.points), "named": self.named, "complete": self.complete}

    def add(self, told: dict[str, Any]) -> None:
        """Add what a worker has told."""
        self.points.update(told["points"])
        self.named += told["named"]
        self.complete = self.complete or told["complete"]

    @property
    def too_few(self) -> bool:
        """Whether there are fewer than there were; to be asked where no test has failed."""
        return self.complete and self.named < LEAST

    def lines(self) -> list[str]:
        """Give what is said at the end of the run."""
        if not self.points:
            return []
        all_of_them = f"{self.points.total()} kill points in {len(self.points)} examples, PGOPT_KILL_SEED={SEED}"
        fallen = f"FAILED: {self.named} kill points of the named examples, and there were {LEAST}"
        return [all_of_them, fallen] if self.too_few else [all_of_them]


TALLY = Tally()
