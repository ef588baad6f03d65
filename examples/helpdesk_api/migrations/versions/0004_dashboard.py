"""The dashboard's figures, counted every two minutes and not at each look."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0004"
down_revision = "0003"

upgrade, downgrade = reversible(
    o.CreateMaterializedView(
        "ticket_stats",
        "select organization_id, status, count(*) as tickets from tickets group by 1, 2",
        unique=["organization_id", "status"],
        refresh="*/2 * * * *",
        schema="public",
    ),
)
