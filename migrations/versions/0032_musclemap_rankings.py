"""The leaderboard of musclemap from its users alone, without a join."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0032"
down_revision = "0031"

JOINED = """
select u.id as user_id, u.username, p.country, u.xp, rank() over (order by u.xp desc) as rank
from musclemap.users u left join musclemap.user_profile_extended p on p.user_id = u.id
where coalesce(p.leaderboard_opt_in, true) and not coalesce(p.ghost_mode, false)
"""
ALONE = """
select u.id as user_id, u.username, u.country, u.xp, rank() over (order by u.xp desc) as rank
from musclemap.users u
where u.leaderboard_opt_in and not u.ghost_mode
"""

upgrade, downgrade = reversible(
    o.ReplaceMaterializedView("mv_xp_rankings", ALONE, old=JOINED, schema="musclemap"),
    # at most half a minute old, with what a refresh takes
    o.ScheduleJob(
        "musclemap rankings",
        "call pgopt.refresh_all(array['musclemap.mv_xp_rankings']::regclass[])",
        every="20 seconds",
    ),
)
