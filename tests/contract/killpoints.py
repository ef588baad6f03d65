"""How many kill points were exercised: counted here, printed at the end of the run."""

from __future__ import annotations

import os
from collections import Counter

COUNTED: Counter[str] = Counter()
"""Kill points by example."""
NAMED: Counter[str] = Counter()
"""Those of the named examples between statements, by example and failure; their number may not fall."""


def seed() -> str | None:
    """The seed by which statements are drawn for all examples; CI sets it."""
    return os.environ.get("PGOPT_KILL_SEED") or None


def summary() -> str | None:
    """Give the line for the end of the run."""
    if not COUNTED:
        return None
    drawn = f", drawn by PGOPT_KILL_SEED={seed()}" if seed() else ""
    return f"{COUNTED.total()} kill points in {len(COUNTED)} examples{drawn}"
