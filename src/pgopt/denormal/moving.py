"""Rows of a partitioned target that go from one partition to another.

PostgreSQL deletes such a row there and inserts it here. Whoever has waited for it gets an error, where another statement finds the row; so
what waits is tried again. And the row that comes is to be told from a new one: that waits for whoever has changed the source, who in
turn waits for the row that goes. Two triggers remember a row that leaves: one when it gets another place, and one when it is deleted there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.sql import Composable

    from pgopt.denormal.definition import Definition

PACKAGE = __package__


def tried_again(of: Definition, body: Composable) -> Composable:
    """Do something that waits for rows of the target, again where one went to another partition meanwhile."""
    return query("again", PACKAGE, body=body) if of.target.partitioned else body


@dataclass(frozen=True)
class Moves:
    """What tells the rows of a target that go to another partition."""

    of: Definition

    @property
    def happen(self) -> bool:
        """Whether a row can go to another partition and keep its key."""
        return bool(self._place)

    @property
    def leaves(self) -> Composable:
        """What the trigger before an update does: the row is about to leave."""
        old, new = (_text(side, names) for side, names in (("old", self._where), ("new", self._who)))
        return query("leaves", PACKAGE, old=old, new=new, **self._settings)

    @property
    def has_another_place(self) -> Composable:
        """The condition of that trigger: the place is another, and the key is the same."""
        another, same = (
            joined((sql("old.{0} is distinct from new.{0}", ident(name)) for name in names), " or ")
            for names in (self._place, self._keys)
        )
        return sql("({}) and not ({})", another, same)

    @property
    def goes(self) -> Composable:
        """What the trigger before a delete does: the row has left."""
        left = sql("{} operator(pg_catalog.=) {}", self._said("leaves"), _text("old", self._where))
        return query("goes", PACKAGE, left=left, **self._settings)

    @property
    def one_leaves(self) -> Composable:
        """The condition of that trigger: nobody else is to pay for it."""
        return sql("{} operator(pg_catalog.<>) ''", self._said("leaves"))

    def unless_it_comes(self, statements: Composable) -> Composable:
        """Do something before a row is inserted, unless it comes from another partition."""
        if not self.happen:
            return statements
        gone = sql("{} operator(pg_catalog.=) 'gone'", self._said("leaves"))
        same = sql("{} operator(pg_catalog.=) {}", self._said("comes"), _text("new", self._who))
        return sql(
            "if ({} and {}) is not true then {} end if; perform pg_catalog.set_config({}, '', true);",
            gone,
            same,
            statements,
            self._settings["leaves"],
        )

    @property
    def _keys(self) -> list[str]:
        return [key.target for key in self.of.on]

    @property
    def _place(self) -> list[str]:
        return [name for name in self.of.parted_by if name not in self._keys]

    @property
    def _where(self) -> list[str]:
        return list(dict.fromkeys([*self.of.order, *self._place]))

    @property
    def _who(self) -> list[str]:
        return list(dict.fromkeys([*self._keys, *self.of.order]))

    @property
    def _settings(self) -> dict[str, Composable]:
        return {what: literal(f"pgopt.{what}_{self.of.tag}") for what in ("leaves", "comes")}

    def _said(self, what: str) -> Composable:
        return sql("pg_catalog.current_setting({}, true)", self._settings[what])


def _text(of: str, names: Sequence[str]) -> Composable:
    """Give some values of a row as a text, which begins with a parenthesis."""
    return sql("row({})::pg_catalog.text", joined(sql("{}.{}", verbatim(of), ident(name)) for name in names))
