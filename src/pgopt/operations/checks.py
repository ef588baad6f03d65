"""CHECK constraints of live tables: for new rows at once, for old ones checked while the table is in use."""

from __future__ import annotations

from dataclasses import KW_ONLY
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import constraint_steps as steps
from pgopt.operations.base import StateOperation, operation, other
from pgopt.server.locks import Mode
from pgopt.server.quoting import check_name, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.plan.step import Step
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@operation("create_check_constraint_online")
class CreateCheckConstraintOnline(StateOperation):
    """Add a CHECK while the table is in use.

    It holds for new rows at once (ACCESS EXCLUSIVE for an instant), then the rows that are there are checked under SHARE
    UPDATE EXCLUSIVE, which nobody but other DDL waits for. Where some violate it, the error says how many and shows some
    by key, and the constraint is gone again, or kept for new rows with ``on_violation="keep"``; mend them and run again::

        op.create_check_constraint_online("ck_proposals_value", "proposals", "value >= 0")
    """

    name: str
    table: str
    condition: Any
    _: KW_ONLY
    on_violation: Literal["drop", "keep"] = "drop"
    schema: str | None = None

    def check(self) -> None:
        check_name(self.name, f"a constraint of {self.table}")
        if self.on_violation not in ("drop", "keep"):
            raise InvalidOperation(f"on_violation={self.on_violation!r} of {self.name}: say 'drop' or 'keep'")

    def reverse(self) -> DropCheckConstraintOnline:
        return other(DropCheckConstraintOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = steps.table_of(db, self.table, self.schema)
        steps.same_or_refuse(db, self.name, table, _check(self.condition))
        tables = steps.tree(db, table)
        if db.online and db.constraint(table, self.name) is None:
            self._refuse_of_partitions(db, db.partitions(table))
        yield steps.add(self.name, _check(self.condition), tables, steps.on_all(Mode.ACCESS_EXCLUSIVE, tables))
        violated = sql("not ({})", verbatim(self.condition))
        yield steps.validate(
            self.name,
            tables,
            partial(steps.violating_rows, tables=tables, condition=violated),
            give_up=[steps.drop(self.name, tables)] if self.on_violation == "drop" else [],
        )

    def _refuse_of_partitions(self, db: Catalog, parts: Sequence[Relation]) -> None:
        """Refuse where a partition has such a constraint: it would become a part of this, and go with it."""
        for part in parts:
            if db.constraint(part, self.name) is not None:
                raise InvalidOperation(
                    f"partition {part} has a constraint {self.name} of its own, which would become a part of that of {self.table}:"
                    " drop or rename it first"
                )


@operation("drop_check_constraint_online")
class DropCheckConstraintOnline(StateOperation):
    """Drop a CHECK.

    Takes ACCESS EXCLUSIVE for an instant. With the condition it can be undone; the CHECK that is there must then be equal
    to it::

        op.drop_check_constraint_online("ck_proposals_value", "proposals", "value >= 0")
    """

    name: str
    table: str
    condition: Any = None
    _: KW_ONLY
    schema: str | None = None

    def reverse(self) -> CreateCheckConstraintOnline:
        if self.condition is None:
            raise NotReversible(f"{self.title}: say the condition, so that it can be made again")
        return other(CreateCheckConstraintOnline, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        table = steps.table_of(db, self.table, self.schema)
        return () if self.condition is None else steps.note_not_valid(db, self.name, table)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = steps.table_of(db, self.table, self.schema)
        tables = steps.tree(db, table)
        if self.condition is not None:
            steps.same_or_refuse(db, self.name, table, _check(self.condition))
            for each in tables:
                steps.refuse_to_lose(db, self.name, each)
        yield steps.drop(self.name, tables)


def _check(condition: str) -> Composable:
    return sql("check ({})", verbatim(condition))
