"""The leaderboard of musclemap in its order by an index, and the experience of who has each hundredth place."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0039"
down_revision = "0038"

LISTED = "leaderboard_opt_in and not ghost_mode"
# from the hundredth on, so that the places before are counted from the top, and are never old
PLACES = f"""
select distinct xp, so_far
from (
    select xp, count(*) over (order by xp desc) as so_far, row_number() over (order by xp desc) as number
    from musclemap.users
    where {LISTED}
) ranked
where number % 100 = 0
"""

upgrade, downgrade = reversible(
    o.CreateIndexConcurrently(
        "idx_users_leaderboard",
        "users",
        ["xp desc"],
        where=LISTED,
        include=["id", "username", "country"],
        schema="musclemap",
    ),
    # at most half a minute old, with what a refresh takes
    o.CreateMaterializedView("mv_xp_places", PLACES, unique=["xp"], refresh="every 20 seconds", schema="musclemap"),
)
