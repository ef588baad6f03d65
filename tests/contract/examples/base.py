"""What an example says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.operations import StateOperation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alembic.operations import MigrateOperation

    from pgopt.operations import Operation


@dataclass(frozen=True)
class Example:
    """An operation, and a database to carry it out on."""

    name: str
    """Unique, in words: it is the test's id."""
    setup: str
    """SQL that makes the database as the application had it."""
    operation: Operation
    before: Sequence[MigrateOperation] = ()
    """Operations that must have been carried out, such as `install_pgopt`."""
    writes: str = ""
    """SQL that a writer repeats while the operation is at work; ``{n}`` is another number each time."""
    scriptable: bool = True
    """Whether `--sql` can write it."""
    named: bool = False
    """Whether `make test` kills it at each statement; three of a family are."""
    back: Sequence[MigrateOperation] = ()
    """What brings the beginning back, where that is more than the inverse."""
    moves: bool = False
    """Whether rows go to another table as they are, so that all are compared together."""
    since: int = 15
    """The PostgreSQL major from which on it works."""

    @property
    def reversible(self) -> bool:
        """Whether there is a way back."""
        return bool(self.back) or isinstance(self.operation, StateOperation)

    @property
    def inverse(self) -> Sequence[MigrateOperation]:
        """The way back."""
        if self.back:
            return self.back
        assert isinstance(self.operation, StateOperation)
        return [self.operation.reverse()]

    def __str__(self) -> str:
        return self.name
