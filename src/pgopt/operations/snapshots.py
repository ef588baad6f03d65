"""Snapshots of how the database is, taken by the clock and kept for a while."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from pgopt.operations.base import StateOperation, operation, other
from pgopt.operations.jobs import ScheduleJob, UnscheduleJob
from pgopt.operations.retention import CreateRetentionPolicy, DropRetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgopt.plan.step import Step
    from pgopt.server.catalog import Catalog

JOB, COMMAND = "snapshots", "select pgopt.take_snapshot()"


@dataclass(frozen=True, repr=False)
class SnapshotOperation(StateOperation):
    """How often snapshots are taken, and how long they are kept."""

    _: KW_ONLY
    every: str = "15 minutes"
    keep: str = "30 days"

    def subject(self, db: Catalog) -> str:  # noqa: ARG002
        return "the snapshots"

    def job(self) -> ScheduleJob:
        """The job that takes them; what was missed while nothing ran is no snapshot of then."""
        return ScheduleJob(JOB, COMMAND, every=self.every)

    def policy(self) -> CreateRetentionPolicy:
        """The policy by which they go, and what belongs to them."""
        return CreateRetentionPolicy(
            "snapshot", schema="pgopt", column="taken_at", keep=self.keep, cascade=True, schedule="every 1 hour"
        )


@operation("install_snapshots")
class InstallSnapshots(SnapshotOperation):
    """Have a job write down how the database is: sizes, bloat, connections, dead rows, and what tables and statements did.

    Locks nothing that is there before; a snapshot takes ACCESS SHARE. They are in `pgopt.snapshot`, `pgopt.snapshot_table` and
    `pgopt.snapshot_statement`, and what happened between two of them is told by `pgopt.work_between(first, last)`,
    `pgopt.tables_between` and `pgopt.statements_between`. Bloat is in them where `install_monitoring` has made its views, and statements where
    pg_stat_statements is there. A retention policy takes away what is older than ``keep``. Needs `install_pgopt`, and
    somebody who runs jobs: `pgopt worker`, `pgopt run-due` or pg_cron::

        op.install_snapshots(every="15 minutes", keep="30 days")
    """

    def reverse(self) -> UninstallSnapshots:
        return other(UninstallSnapshots, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        yield from self.job().plan(db)
        yield from self.policy().plan(db)


@operation("uninstall_snapshots")
class UninstallSnapshots(SnapshotOperation):
    """Have no more snapshots taken, and none taken away; those that are there stay. Locks nothing.

    With the arguments of `install_snapshots` it can be undone::

        op.uninstall_snapshots()
    """

    def reverse(self) -> InstallSnapshots:
        return other(InstallSnapshots, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        policy, job = self.policy(), self.job()
        yield from other(DropRetentionPolicy, policy).plan(db)
        yield from other(UnscheduleJob, job).plan(db)
