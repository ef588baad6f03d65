"""The ranking of all users of musclemap at once, which nobody reads now that there is the leaderboard."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0041"
down_revision = "0040"

RANKINGS = """
select u.id as user_id, u.username, u.country, u.xp, rank() over (order by u.xp desc) as rank
from musclemap.users u
where u.leaderboard_opt_in and not u.ghost_mode
"""

upgrade, downgrade = reversible(
    o.UnscheduleJob(
        "musclemap rankings",
        "call pgopt.refresh_all(array['musclemap.mv_xp_rankings']::regclass[])",
        every="20 seconds",
    ),
    o.DropIndexConcurrently("mv_xp_rankings_user", "mv_xp_rankings", ["user_id"], unique=True, schema="musclemap"),
    o.DropMaterializedView("mv_xp_rankings", RANKINGS, schema="musclemap"),
)
