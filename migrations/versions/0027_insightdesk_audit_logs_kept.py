"""The audit log of insightdesk is kept for twelve months, and two months are made ahead."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0027"
down_revision = "0026"

upgrade, downgrade = reversible(
    o.ManagePartitions("audit_logs", premake=2, keep="12 months", on_expiry="drop", schema="insightdesk"),
)
