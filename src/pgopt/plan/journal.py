"""What the pgopt schema remembers of a run: half-done revisions and how far batches came.

Without the schema nothing is remembered, and nothing is refused.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import MigrationContext

from pgopt.errors import HalfDone
from pgopt.server.quoting import ident, literal, sql

if TYPE_CHECKING:
    from pgopt.server.session import Session

UP, DOWN = "upgrade", "downgrade"


@dataclass(frozen=True)
class Revision:
    """A revision on its way up or down, in the chain of one version table."""

    chain: str
    id: str
    direction: str

    @property
    def opposite(self) -> Revision:
        """The same revision the other way."""
        return Revision(self.chain, self.id, DOWN if self.direction == UP else UP)


def chain_of(context: MigrationContext) -> str:
    """Name the chain of revisions by its version table."""
    return f"{context.version_table_schema}.{context.version_table}" if context.version_table_schema else context.version_table


def current_revision(context: MigrationContext) -> Revision | None:
    """Tell which revision Alembic is running.

    Alembic hands the step to nobody but its own loop, so it is read there.
    """
    if (undoing := context.opts.get("pgopt_undoing")) is not None:
        return Revision(chain_of(context), *undoing)
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is MigrationContext.run_migrations.__code__:
            step = frame.f_locals.get("step")
            return revision_of(context, step)
    return None


def revision_of(context: MigrationContext, step: Any) -> Revision | None:
    """Read a step of Alembic; stamps are not revisions."""
    script = getattr(step, "revision", None)
    if script is None:
        return None
    return Revision(chain_of(context), script.revision, UP if step.is_upgrade else DOWN)


class Journal:
    """The memory of one run in `pgopt.run` and `pgopt.progress`."""

    def __init__(self, session: Session, chain: str, revision: Revision | None, *, undoing: bool = False) -> None:
        self.session = session
        self.chain = chain
        self.revision = revision
        self.undoing = undoing
        self.installed = bool(session.value("select to_regclass('pgopt.run') is not null"))

    def check(self) -> None:
        """Refuse to go on past a half-done revision, or back over it."""
        for revision, operation in self.half_done():
            if revision == self.revision or (self.undoing and revision.opposite == self.revision):
                continue
            target = revision.id if revision.direction == UP else f"{revision.id}-1"
            raise HalfDone(
                f"the {revision.direction} of revision {revision.id} was interrupted in {operation}: finish it with"
                f" `alembic {revision.direction} {target}`, or take it back with `pgopt undo {revision.id}`,"
                " before anything else"
            )

    def half_done(self) -> list[tuple[Revision, str]]:
        """Give the revisions that were begun and not stamped, with the operation at which each was."""
        if not self.installed:
            return []
        rows = self.session.rows(
            sql(
                "select revision, direction, operation from pgopt.run where chain = {} order by started_at",
                literal(self.chain),
            )
        )
        return [(Revision(self.chain, row[0], row[1]), row[2]) for row in rows]

    def begin(self, operation: str) -> None:
        """Write down that the revision has begun an operation."""
        if not self.installed or self.revision is None:
            return
        self.check()
        self.session.run(
            sql(
                "insert into pgopt.run (chain, revision, direction, operation) values ({}, {}, {}, {})"
                " on conflict (chain, revision) do update set operation = excluded.operation, seen_at = now()",
                *map(literal, (self.chain, self.revision.id, self.revision.direction, operation)),
            )
        )

    def forget(self, revision: str) -> None:
        """Forget a revision; done in the transaction that stamps it."""
        if self.installed:
            for table in ("run", "progress"):
                self.session.run(
                    sql(
                        "delete from {} where chain = {} and revision = {}",
                        ident("pgopt", table),
                        *map(literal, (self.chain, revision)),
                    )
                )
