"""What was there before a change whose own words do not tell it: the rows of `pgopt.undo`.

They are written in the transaction of the change, where the first one counts, and deleted in that of its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.server.queries import query
from pgopt.server.quoting import joined, literal, render, sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from pgopt.server.objects import Relation


@dataclass(frozen=True)
class Memory:
    """The memory of the revision that is running; outside of revisions all share one."""

    chain: str | Composable = ""
    """Its name; in a script what gives the name where that runs."""
    revision: str = ""
    down: bool = False
    """Whether the revision is on its way down: what was there is given back, and nothing is kept anew."""

    @property
    def said(self) -> Composable:
        """The chain, as rows name it."""
        return _said(self.chain)

    @property
    def row(self) -> Composable:
        """The revision in its chain, as rows name it."""
        return sql("({}, {})", self.said, _said(self.revision))

    def of(self, operation: str, subject: str) -> Kept:
        """Give the place for what one operation found in one subject."""
        return Kept((self.chain, self.revision, operation, subject))

    def of_tree(self, operation: str, relation: Relation, settings: Sequence[str]) -> KeptTree:
        """Give the places for some settings of a relation and of all below it."""
        return KeptTree((self.chain, self.revision, operation), relation, tuple(settings))


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


@dataclass(frozen=True)
class KeptTree:
    """The rows of `pgopt.undo` for settings of a relation and all below it: one for each setting of each of them.

    So a run that says more than an interrupted one did, or says it of another part of the tree, takes nothing that was set
    before for what was there.
    """

    key: tuple[str | Composable, str, str]
    relation: Relation
    settings: tuple[str, ...]

    def keep(self, now: Composable) -> Composable:
        """Write down what a query says of each relation and setting, unless an earlier run has."""
        return query("undo_keep", key=self._key, tree=self.tree, now=now)

    def forget(self) -> Composable:
        """Delete the rows."""
        return sql("delete from pgopt.undo where {}", self.where)

    @property
    def where(self) -> Composable:
        """The condition that finds the rows."""
        return query(
            "undo_where", key=self._key, relation=self.regclass, tree=self.tree, settings=literal(list(self.settings))
        )

    @property
    def regclass(self) -> Composable:
        """The relation, as the server looks it up."""
        return literal(render(self.relation.ident))

    @property
    def tree(self) -> Composable:
        """The name of the relation, as the server tells it."""
        return query("undo_tree", relation=self.regclass)

    @property
    def _key(self) -> Composable:
        return joined(map(_said, self.key))


def _said(part: str | Composable) -> Composable:
    return literal(part) if isinstance(part, str) else part
