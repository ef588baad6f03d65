"""What an example says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.operations import StateOperation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgopt.operations import Operation


@dataclass(frozen=True)
class Example:
    """An operation, and a database to carry it out on."""

    name: str
    """Unique, in words: it is the test's id."""
    setup: str
    """SQL that makes the database as the application had it."""
    operation: Operation
    before: Sequence[Operation] = ()
    """Operations that must have been carried out, such as `install_pgopt`."""
    writes: str = ""
    """SQL that a writer repeats while the operation is at work; ``{n}`` is another number each time."""
    scriptable: bool = True
    """Whether `--sql` can write it."""
    named: bool = False
    """Whether `make test` kills it at each statement; three of a family are."""

    @property
    def reversible(self) -> bool:
        """Whether it has an inverse."""
        return isinstance(self.operation, StateOperation)

    def __str__(self) -> str:
        return self.name
