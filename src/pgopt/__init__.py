"""Change a live PostgreSQL database from Alembic migrations."""

from __future__ import annotations

# first: Alembic loads our entry point while it is itself being imported
import alembic  # noqa: F401  isort: skip

from pgopt import operations
from pgopt.copy.by import Daily, Hash, IntRange, ListOf, Monthly, Quarterly, Weekly, Yearly
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
