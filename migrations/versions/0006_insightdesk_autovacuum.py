"""Tickets of insightdesk are written to all day: they are vacuumed and analyzed after few changes."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0006"
down_revision = "0005"

upgrade, downgrade = reversible(
    o.SetStorageParameters(
        "tickets",
        {
            "autovacuum_vacuum_threshold": 50,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_analyze_threshold": 50,
            "autovacuum_analyze_scale_factor": 0.01,
        },
        schema="insightdesk",
    ),
)
