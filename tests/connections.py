"""Where connections were opened, said of those that are left open: the garbage collector finds them tests later."""

from __future__ import annotations

import gc
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn
from weakref import WeakSet

from psycopg import BaseConnection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

HERE = str(Path(__file__).parent.parent)
FRAMES = 4

_open: WeakSet[BaseConnection[Any]] = WeakSet()


def watch() -> None:
    """Let each connection of psycopg know where it was opened, and say so when it is left open."""
    begin, end = BaseConnection.__init__, BaseConnection.__del__

    @wraps(begin)
    def opened(self: BaseConnection[Any], *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self.opened_at = " < ".join(_places(sys._getframe(1)))  # type: ignore[attr-defined]
        _open.add(self)

    def left(self: BaseConnection[Any]) -> None:
        place = getattr(self, "opened_at", "an unknown place")
        end(self, lambda said, category: warn(f"{said}; it was opened at {place}", category, stacklevel=1))

    BaseConnection.__init__ = opened  # type: ignore[method-assign]
    BaseConnection.__del__ = left  # type: ignore[assignment, method-assign]


def still_open() -> set[BaseConnection[Any]]:
    """Give the connections that nobody has closed."""
    return {each for each in list(_open) if not each.closed}


def collect(before: set[BaseConnection[Any]]) -> None:
    """Let the garbage collector find now what somebody has left open since, so that he is blamed for it."""
    if still_open() - before:
        gc.collect()


def _places(frame: FrameType | None) -> Iterator[str]:
    """Give the lines of our own that led here, innermost first."""
    found = 0
    while frame is not None and found < FRAMES:
        name = frame.f_code.co_filename
        if name.startswith(HERE) and "/.venv/" not in name:
            found += 1
            yield f"{Path(name).relative_to(HERE)}:{frame.f_lineno}"
        frame = frame.f_back
