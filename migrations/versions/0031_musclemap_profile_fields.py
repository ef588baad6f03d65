"""Country, ghost mode and opting in are columns of musclemap's users, too, kept so by triggers."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0031"
down_revision = "0030"

upgrade, downgrade = reversible(
    o.DenormalizeColumns(
        "users",
        source="user_profile_extended",
        on={"id": "user_id"},
        columns={
            "country": "country",
            "ghost_mode": "coalesce(ghost_mode, false)",
            "leaderboard_opt_in": "coalesce(leaderboard_opt_in, true)",
        },
        defaults={"ghost_mode": "false", "leaderboard_opt_in": "true"},
        schema="musclemap",
    ),
)
