"""The entry point by which every `alembic` command knows pgopt's operations, with no line in env.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pgopt.directives  # noqa: F401  -- registers them

if TYPE_CHECKING:
    from alembic.runtime.plugins import Plugin


def setup(plugin: Plugin) -> None:
    """Called by Alembic while it is imported; the import above has done the work."""
