"""The audit log of proposals by months, three ahead, converted while it is written to."""

from __future__ import annotations

from pgopt import Monthly, reversible
from pgopt import operations as o

revision = "0019"
down_revision = "0018"

upgrade, downgrade = reversible(
    o.PartitionTable("audit_logs", Monthly("timestamp"), premake=3, widen_keys=True, schema="proposals"),
)
