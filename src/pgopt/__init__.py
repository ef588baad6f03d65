"""Change a live PostgreSQL database from Alembic migrations."""

from __future__ import annotations

# first: Alembic loads our entry point while it is itself being imported
import alembic  # noqa: F401  isort: skip

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pgopt import directives as _directives  # noqa: F401  -- registers them where there is no entry point
from pgopt import operations
from pgopt.errors import (
    HalfDone,
    InvalidOperation,
    LockNotAcquired,
    NeedsDatabase,
    NotInstalled,
    NotReversible,
    PgoptError,
    PoolerInBetween,
    RunnerBusy,
    StatementFailed,
    UnsafeTransaction,
)

if TYPE_CHECKING:
    from pgopt.copy.by import Daily, Hash, IntRange, ListOf, Monthly, Quarterly, Weekly, Yearly
    from pgopt.operations.reversible import reversible
    from pgopt.plan.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Daily",
    "HalfDone",
    "Hash",
    "IntRange",
    "InvalidOperation",
    "ListOf",
    "LockNotAcquired",
    "Monthly",
    "NeedsDatabase",
    "NotInstalled",
    "NotReversible",
    "PgoptError",
    "PoolerInBetween",
    "Quarterly",
    "RunnerBusy",
    "Settings",
    "StatementFailed",
    "UnsafeTransaction",
    "Weekly",
    "Yearly",
    "operations",
    "reversible",
]

if not TYPE_CHECKING:  # who checks types sees what is imported above, and nothing else

    def __getattr__(name: str) -> Any:
        """Load what a migration says when it is said: every `alembic` command imports this."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        late = {"Settings": "pgopt.plan.settings", "reversible": "pgopt.operations.reversible"}
        return getattr(import_module(late.get(name, "pgopt.copy.by")), name)

    def __dir__() -> list[str]:
        return __all__
