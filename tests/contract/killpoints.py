"""How many kill points were exercised: counted here, printed at the end of the run."""

from __future__ import annotations

import os
import random
from collections import Counter

COUNTED: Counter[str] = Counter()
"""Kill points by example."""
NAMED: Counter[str] = Counter()
"""Those of the named examples between statements, by example and failure; their number may not fall."""


SEED = os.environ.get("PGOPT_KILL_SEED") or str(random.randrange(100_000))
"""Draws the statements at which all examples are interrupted; printed at the end of the run, to be set again."""


def summary() -> str | None:
    """Give the line for the end of the run."""
    if not COUNTED:
        return None
    return f"{COUNTED.total()} kill points in {len(COUNTED)} examples, PGOPT_KILL_SEED={SEED}"
