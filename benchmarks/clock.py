"""How long each stage of a long benchmark takes, and what is under way."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """Seconds by what is measured and by stage, in the order in which they came."""

    def __init__(self) -> None:
        self.took: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    @contextmanager
    def stage(self, what: str, stage: str, detail: str = "") -> Iterator[None]:
        """Tell what is under way, and count how long it takes."""
        common.progress(f"{what}: {stage} {detail}".rstrip())
        begun = time.perf_counter()
        yield
        self.took[what][stage] += time.perf_counter() - begun

    def show(self, title: str) -> None:
        """Print a table of the seconds."""
        stages = list(dict.fromkeys(stage for each in self.took.values() for stage in each))
        lines = [(what, *(f"{each.get(stage, 0):,.1f}" for stage in stages)) for what, each in self.took.items()]
        common.print_table(title, ("", *stages), lines)
