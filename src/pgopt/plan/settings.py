"""How patient and how gentle a run is."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "PGOPT_"
LONGEST = 2_147_483
"""The most seconds that the server takes for a timeout."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits for locks, waits and batches, in seconds where nothing else is said.

    The defaults suit production. Each can be set for one call (``settings={"lock_attempts": 5}``), by an environment
    variable (``PGOPT_LOCK_ATTEMPTS=5``) or in env.py (``pgopt.env.run(context, settings=Settings(lock_attempts=5))``,
    or ``context.configure(..., pgopt_settings=Settings(...))``); the first of these that says something counts.
    """

    lock_timeout: float = 2.0
    """The longest wait for a lock of a short step. Others queue behind us that long."""
    lock_attempts: int = 30
    """How often a short step tries."""
    lock_wait: float = 15.0
    """The longest pause between two attempts, in which the queue behind us drains."""
    concurrent_timeout: float = 6 * 3600.0
    """How long a CONCURRENTLY statement may wait for one old transaction; it blocks nobody meanwhile."""
    runner_timeout: float = 900.0
    """How long to wait for another pgopt run on the same table to end."""
    batch_seconds: float = 0.2
    """What one batch should take; its size is adapted to that."""
    batch_rows: int = 1000
    """The size of the first batch."""
    batch_most: int = 50_000
    """The size that no batch exceeds."""
    batch_pause: float = 0.0
    """What to wait between two batches."""
    replication_lag: float = 10.0
    """Batches wait while a standby replays later than this; 0 does not look."""
    wal_rate: float = 0.0
    """Batches keep below this many bytes of WAL a second, as the whole server writes them; 0 does not look."""
    watch_after: float = 1.0
    """When to begin to show the progress of a CONCURRENTLY statement."""
    mixed_revisions: bool = False
    """Allow an online operation after plain work in the same revision, which is then committed before the stamp."""
    session_pooler: bool = False
    """Allow a pooler before the server, which keeps one session for each client."""

    @classmethod
    def of(cls, env: Settings | Mapping[str, Any] | None = None, call: Mapping[str, Any] | None = None) -> Settings:
        """Put together what was said where."""
        said = vars(env) if isinstance(env, Settings) else env or {}
        return cls(**{**_checked(said), **_from_environment(), **_checked(call or {})})


def timeout(seconds: float) -> str:
    """Write a timeout as the server reads it; 0 would be none at all, and a wait without end."""
    ms = max(1, math.ceil(seconds * 1000))
    return f"{ms}ms" if ms % 1000 else f"{ms // 1000}s"


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, type] = {field.name: type(field.default) for field in fields(Settings)}
    for name, value in values.items():
        if name not in known:
            raise InvalidOperation(f"there is no setting {name!r}: choose from {', '.join(sorted(known))}")
        if not _is_right(known[name], value):
            raise InvalidOperation(f"the setting {name}={value!r} is not a {_word(known[name])}")
        if known[name] is float and name != "wal_rate" and value > LONGEST:
            raise InvalidOperation(
                f"the setting {name}={value!r} is longer than the server can wait: say at most {LONGEST} (seconds)"
            )
    return {name: known[name](value) for name, value in values.items()}


def _is_right(kind: type, value: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and value >= 1
    return isinstance(value, int | float) and 0 <= value < math.inf


def _from_environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(Settings):
        variable = PREFIX + field.name.upper()
        if text := os.environ.get(variable):
            try:
                found[field.name] = _read(type(field.default), text)
            except ValueError:
                raise InvalidOperation(f"{variable}={text!r} is not a {_word(type(field.default))}") from None
    return _checked(found)


def _read(kind: type, text: str) -> Any:
    if kind is bool:
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    return kind(text)


def _word(kind: type) -> str:
    return {bool: "yes or no", int: "whole number above 0", float: "number, 0 or more"}[kind]
