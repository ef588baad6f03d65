"""Proposals by day and status, with their values and how long they took."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0035"
down_revision = "0034"

SUMMARY = """
select date_trunc('day', created_at, 'UTC') as date, status, count(*) as count, avg(value) as avg_value, sum(value) as total_value,
       avg(extract(epoch from coalesce(approved_at, now()) - created_at) / 3600) as avg_processing_hours
from proposals.proposals
group by 1, 2
"""

upgrade, downgrade = reversible(
    o.CreateMaterializedView(
        "proposal_analytics_summary",
        SUMMARY,
        unique=["date", "status"],
        indexes=[["date desc", "status"]],
        refresh="30 4 * * *",
        schema="proposals",
    ),
)
