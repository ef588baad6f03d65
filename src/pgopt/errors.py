"""What pgopt raises: sentences that name the offending thing and the way out."""

from __future__ import annotations

from alembic.util import CommandError

INSTALL = "op.install_pgopt(version=1)"
"""What a revision says so that operations can remember."""


class PgoptError(CommandError):
    """Base of all errors for users; Alembic's command line prints them like its own."""


class InvalidOperation(PgoptError):
    """The operation cannot be carried out as it is written."""


class NotReversible(PgoptError):
    """The operation does not know enough to be undone."""


class NeedsDatabase(PgoptError):
    """The operation must look at the database, so it cannot be written as a script."""


class NotInstalled(PgoptError):
    """The operation keeps something in the pgopt schema, which is not there, or not for this role."""

    def __init__(self, sentence: str, by: str = "install_pgopt") -> None:
        super().__init__(sentence)
        self.by = by
        """The operation that brings what is missing."""


class LockNotAcquired(PgoptError):
    """Other sessions held the lock through all attempts."""


class RunnerBusy(PgoptError):
    """Another pgopt run is at work on the same thing."""


class HalfDone(PgoptError):
    """An interrupted revision must be finished or undone first."""


class PoolerInBetween(PgoptError):
    """A pooler may change the session of the server beneath us."""


class UnsafeTransaction(PgoptError):
    """The surrounding transaction does not allow an online operation."""


class StatementFailed(PgoptError):
    """The server refused a statement of an operation."""
