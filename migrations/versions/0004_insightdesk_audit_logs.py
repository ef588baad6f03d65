"""The audit log of insightdesk by months, two ahead, converted while it is written to."""

from __future__ import annotations

from pgopt import Monthly, reversible
from pgopt import operations as o

revision = "0004"
down_revision = "0003"

upgrade, downgrade = reversible(
    o.PartitionTable("audit_logs", Monthly("created_at"), premake=2, schema="insightdesk"),
)
