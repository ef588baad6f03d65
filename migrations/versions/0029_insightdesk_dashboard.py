"""Tickets of insightdesk by organization, day, status and priority, over 90 days, refreshed while they are read."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0029"
down_revision = "0028"

# averages leave out what has not happened yet by themselves
STATS = """
select organization_id, (created_at at time zone 'UTC')::date as date, status, priority, count(*) as ticket_count,
       avg(extract(epoch from first_response_at - created_at)) as avg_first_response_seconds,
       avg(extract(epoch from resolved_at - created_at)) as avg_resolution_seconds
from insightdesk.tickets
where created_at >= (current_date - 90)::timestamp at time zone 'UTC'
group by 1, 2, 3, 4
"""

upgrade, downgrade = reversible(
    o.CreateMaterializedView(
        "mv_dashboard_stats",
        STATS,
        unique=["organization_id", "date", "status", "priority"],
        indexes=[["organization_id", "date desc"]],
        refresh="*/15 * * * *",
        schema="insightdesk",
    ),
)
