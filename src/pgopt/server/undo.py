"""What was there before a change whose own words do not tell it: the rows of `pgopt.undo`.

They are written in the transaction of the change, where the first one counts, and deleted in that of its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.server.quoting import literal, sql

if TYPE_CHECKING:
    from psycopg.sql import Composable


@dataclass(frozen=True)
class Memory:
    """The memory of the revision that is running; outside of revisions all share one."""

    chain: str | Composable = ""
    """Its name; in a script what gives the name where that runs."""
    revision: str = ""
    down: bool = False
    """Whether the revision is on its way down: what was there is given back, and nothing is kept anew."""

    def of(self, operation: str, subject: str) -> Kept:
        """Give the place for what one operation found in one subject."""
        return Kept((self.chain, self.revision, operation, subject))


@dataclass(frozen=True)
class Kept:
    """One row of `pgopt.undo`, which may be there or not."""

    key: tuple[str | Composable, str, str, str]

    def keep(self, was: Composable) -> Composable:
        """Write down what a query says is there, unless an earlier run has."""
        return sql(
            "insert into pgopt.undo (chain, revision, operation, subject, was) select {}, {}, {}, {}, ({})"
            " on conflict do nothing",
            *map(_said, self.key),
            was,
        )

    def forget(self) -> Composable:
        """Delete the row."""
        return sql("delete from pgopt.undo where {}", self.where)

    @property
    def where(self) -> Composable:
        """The condition that finds the row."""
        return sql("(chain, revision, operation, subject) = ({}, {}, {}, {})", *map(_said, self.key))


def _said(part: str | Composable) -> Composable:
    return literal(part) if isinstance(part, str) else part
