"""The ranking, made every 20 seconds and not at each look."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0004"
down_revision = "0003"

RANKING = """
select rank() over (order by points desc) as rank, id as player_id, name, country, points
from players
where not hidden
"""

upgrade, downgrade = reversible(
    o.CreateMaterializedView(
        "ranking",
        RANKING,
        unique=["player_id"],
        indexes=[["rank"], ["country", "rank"]],
        refresh="every 20 seconds",
        schema="public",
    ),
)
