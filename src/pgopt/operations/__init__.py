"""What a migration can say, as frozen dataclasses; ``pgopt.op`` has the same as directives."""

from __future__ import annotations

from pgopt.operations.base import Action, Operation, StateOperation, registry
from pgopt.operations.columns import Backfill
from pgopt.operations.constraints import (
    CreateCheckConstraintOnline,
    CreateForeignKeyOnline,
    CreatePrimaryKeyOnline,
    CreateUniqueConstraintOnline,
    DropCheckConstraintOnline,
    DropForeignKeyOnline,
    DropNotNull,
    DropPrimaryKeyOnline,
    DropUniqueConstraintOnline,
    SetNotNullOnline,
)
from pgopt.operations.indexes import (
    CreateIndexConcurrently,
    DropIndexConcurrently,
    ReindexConcurrently,
    RenameIndex,
    ReplaceIndexConcurrently,
)
from pgopt.operations.storage import ResetStorageParameters, SetStorageParameters
from pgopt.operations.support import InstallPgopt, UninstallPgopt

__all__ = [
    "Action",
    "Backfill",
    "CreateCheckConstraintOnline",
    "CreateForeignKeyOnline",
    "CreateIndexConcurrently",
    "CreatePrimaryKeyOnline",
    "CreateUniqueConstraintOnline",
    "DropCheckConstraintOnline",
    "DropForeignKeyOnline",
    "DropIndexConcurrently",
    "DropNotNull",
    "DropPrimaryKeyOnline",
    "DropUniqueConstraintOnline",
    "InstallPgopt",
    "Operation",
    "ReindexConcurrently",
    "RenameIndex",
    "ReplaceIndexConcurrently",
    "ResetStorageParameters",
    "SetNotNullOnline",
    "SetStorageParameters",
    "StateOperation",
    "UninstallPgopt",
    "registry",
]
