"""The leaderboard of musclemap as a view: who asks for a place, counts from the nearest of those that are kept."""

from __future__ import annotations

from alembic import op

revision = "0040"
down_revision = "0039"

# the columns of mv_xp_rankings; in the order of xp, and not of rank, so that the index gives it
LEADERBOARD = """
create view musclemap.leaderboard as
    select u.id as user_id, u.username, u.country, u.xp,
           1 + coalesce(p.so_far, 0) + (
               select count(*) from musclemap.users a
               where a.leaderboard_opt_in and not a.ghost_mode and a.xp > u.xp and a.xp < coalesce(p.xp, 9223372036854775807)
           ) as rank
    from musclemap.users u
    left join lateral (
        select k.xp, k.so_far from musclemap.mv_xp_places k where k.xp > u.xp order by k.xp limit 1
    ) p on true
    where u.leaderboard_opt_in and not u.ghost_mode
"""


def upgrade() -> None:
    op.execute(LEADERBOARD)


def downgrade() -> None:
    op.execute("drop view musclemap.leaderboard")
