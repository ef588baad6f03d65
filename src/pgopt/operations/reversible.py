"""A migration's upgrade and downgrade from its operations alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import op

from pgopt.errors import InvalidOperation

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgopt.operations.base import Operation


def reversible(*operations: Operation) -> tuple[Callable[[], None], Callable[[], None]]:
    """Give ``upgrade`` and ``downgrade``: the operations in their order, and their inverses backwards.

    Refuses an operation that does not know its inverse. Actions, such as a backfill, have none and need none::

        upgrade, downgrade = reversible(
            o.CreateIndexConcurrently("ix_tickets_status", "tickets", ["status"]),
        )
    """
    from pgopt.operations.base import Operation, StateOperation

    for operation in operations:
        if not isinstance(operation, Operation):
            raise InvalidOperation(f"reversible() takes operations of pgopt.operations, not {operation!r}")
    inverses = [operation.reverse() for operation in reversed(operations) if isinstance(operation, StateOperation)]

    def upgrade() -> None:
        for operation in operations:
            op.invoke(operation)

    def downgrade() -> None:
        for operation in inverses:
            op.invoke(operation)

    return upgrade, downgrade
