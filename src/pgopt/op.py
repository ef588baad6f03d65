"""Alembic's ``op`` with pgopt's operations, typed by op.pyi so that an editor completes both."""

from __future__ import annotations

from typing import Any

from alembic import op as _op


def __getattr__(name: str) -> Any:
    return getattr(_op, name)


def __dir__() -> list[str]:
    return dir(_op)
