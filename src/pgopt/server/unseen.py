"""The catalog behind a script, which nobody can see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgopt.errors import NeedsDatabase
from pgopt.server.catalog import Catalog
from pgopt.server.objects import Relation, Storage
from pgopt.server.undo import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgopt.server.objects import Constraint, IndexInfo
    from pgopt.server.session import Session


@dataclass(frozen=True)
class _UnseenTable(Relation):
    """A table behind a script; it keeps the answer that a plan rests on."""

    assumed: list[Relation] = field(default_factory=list, compare=False, repr=False)

    @property
    def partitioned(self) -> bool:
        if self not in self.assumed:
            self.assumed.append(self)
        return False


UNSEEN = "it must see the database, so it cannot be written by --sql: run it online"


class Unseen(Catalog):
    """The catalog behind a script, which nobody can see: it answers as for a fresh run on ordinary tables."""

    online = False
    version = 0

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.assumed: list[Relation] = []
        """The tables of which it was said unseen that they are not partitioned: the script must look."""

    def relation(self, name: str, schema: str | None = None) -> Relation | None:  # noqa: D102
        return _UnseenTable(0, schema, name, "r", assumed=self.assumed)

    def index(self, name: str, schema: str | None = None) -> IndexInfo | None:  # noqa: ARG002, D102
        return None

    def partitions(self, table: Relation) -> Sequence[Relation]:  # noqa: ARG002, D102
        return []

    def constraint(self, table: Relation, name: str) -> Constraint | None:  # noqa: ARG002, D102
        return None

    def not_null(self, table: Relation, column: str) -> Constraint | None:  # noqa: ARG002, D102
        return None

    def descendants(self, table: Relation) -> Sequence[Relation]:  # noqa: ARG002, D102
        return []

    def storage(self, relation: Relation) -> Sequence[Storage]:  # noqa: D102
        return [Storage(relation, {}, has_toast=True)]

    @property
    def session(self) -> Session:  # type: ignore[override]
        """Refuse: there is no server."""
        raise NeedsDatabase(UNSEEN)
