"""What a migration can say, as frozen dataclasses; ``pgopt.op`` has the same as directives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pgopt.operations.kinds import KINDS

if TYPE_CHECKING:
    from pgopt.operations.archive import CreateArchiveTable, DropArchiveTable
    from pgopt.operations.base import Action, Operation, StateOperation
    from pgopt.operations.bloat import ReindexBloated
    from pgopt.operations.checks import CreateCheckConstraintOnline, DropCheckConstraintOnline
    from pgopt.operations.columns import AddColumnOnline, Backfill, DropColumnOnline
    from pgopt.operations.denormalization import (
        DenormalizeAggregate,
        DenormalizeColumns,
        DropDenormalizedAggregate,
        DropDenormalizedColumns,
        VerifyDenormalized,
    )
    from pgopt.operations.extensions import CreateExtension, DropExtension
    from pgopt.operations.foreign_keys import CreateForeignKeyOnline, DropForeignKeyOnline
    from pgopt.operations.indexes import (
        CreateIndexConcurrently,
        DropIndexConcurrently,
        ReindexConcurrently,
        RenameIndex,
        ReplaceIndexConcurrently,
    )
    from pgopt.operations.jobs import ScheduleJob, UnscheduleJob
    from pgopt.operations.keys import (
        CreatePrimaryKeyOnline,
        CreateUniqueConstraintOnline,
        DropPrimaryKeyOnline,
        DropUniqueConstraintOnline,
        ReplacePrimaryKeyOnline,
    )
    from pgopt.operations.living import ManagePartitions, UnmanagePartitions
    from pgopt.operations.matviews import CreateMaterializedView, DropMaterializedView
    from pgopt.operations.monitoring import InstallMonitoring, UninstallMonitoring
    from pgopt.operations.new_tables import CreatePartitionedTable, DropPartitionedTable
    from pgopt.operations.not_null import DropNotNull, SetNotNullOnline
    from pgopt.operations.partitions import FinalizePartitioning, PartitionTable, UnpartitionTable
    from pgopt.operations.pg_cron import LeavePgCron, UsePgCron
    from pgopt.operations.refreshed_views import RefreshMaterializedView
    from pgopt.operations.replaced_views import ReplaceMaterializedView
    from pgopt.operations.retention import (
        AlterRetentionPolicy,
        CreateRetentionPolicy,
        DropRetentionPolicy,
        ResetRetentionPolicy,
    )
    from pgopt.operations.single_partitions import AttachPartition, DetachPartition
    from pgopt.operations.snapshots import InstallSnapshots, UninstallSnapshots
    from pgopt.operations.split_partitions import MergePartitions, SplitPartition
    from pgopt.operations.statistics import (
        Analyze,
        CreateStatistics,
        DropStatistics,
        ResetColumnStatistics,
        SetColumnStatistics,
    )
    from pgopt.operations.storage import ResetStorageParameters, SetStorageParameters
    from pgopt.operations.support import InstallPgopt, UninstallPgopt

__all__ = [
    "Action",
    "AddColumnOnline",
    "AlterRetentionPolicy",
    "Analyze",
    "AttachPartition",
    "Backfill",
    "CreateArchiveTable",
    "CreateCheckConstraintOnline",
    "CreateExtension",
    "CreateForeignKeyOnline",
    "CreateIndexConcurrently",
    "CreateMaterializedView",
    "CreatePartitionedTable",
    "CreatePrimaryKeyOnline",
    "CreateRetentionPolicy",
    "CreateStatistics",
    "CreateUniqueConstraintOnline",
    "DenormalizeAggregate",
    "DenormalizeColumns",
    "DetachPartition",
    "DropArchiveTable",
    "DropCheckConstraintOnline",
    "DropColumnOnline",
    "DropDenormalizedAggregate",
    "DropDenormalizedColumns",
    "DropExtension",
    "DropForeignKeyOnline",
    "DropIndexConcurrently",
    "DropMaterializedView",
    "DropNotNull",
    "DropPartitionedTable",
    "DropPrimaryKeyOnline",
    "DropRetentionPolicy",
    "DropStatistics",
    "DropUniqueConstraintOnline",
    "FinalizePartitioning",
    "InstallMonitoring",
    "InstallPgopt",
    "InstallSnapshots",
    "LeavePgCron",
    "ManagePartitions",
    "MergePartitions",
    "Operation",
    "PartitionTable",
    "RefreshMaterializedView",
    "ReindexBloated",
    "ReindexConcurrently",
    "RenameIndex",
    "ReplaceIndexConcurrently",
    "ReplaceMaterializedView",
    "ReplacePrimaryKeyOnline",
    "ResetColumnStatistics",
    "ResetRetentionPolicy",
    "ResetStorageParameters",
    "ScheduleJob",
    "SetColumnStatistics",
    "SetNotNullOnline",
    "SetStorageParameters",
    "SplitPartition",
    "StateOperation",
    "UninstallMonitoring",
    "UninstallPgopt",
    "UninstallSnapshots",
    "UnmanagePartitions",
    "UnpartitionTable",
    "UnscheduleJob",
    "UsePgCron",
    "VerifyDenormalized",
]


if not TYPE_CHECKING:  # who checks types sees what is imported above, and nothing else

    def __getattr__(name: str) -> Any:
        """Load an operation when it is named: every `alembic` command imports this."""
        for module, kind in [*KINDS.values(), *(("base", kind) for kind in ("Action", "Operation", "StateOperation"))]:
            if kind == name:
                return getattr(import_module(f"pgopt.operations.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return __all__
