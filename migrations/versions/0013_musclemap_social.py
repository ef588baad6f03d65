"""Friends, mentors, crews, followers, blocks and high fives of musclemap from either side."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0013"
down_revision = "0012"

index = partial(o.CreateIndexConcurrently, schema="musclemap")

upgrade, downgrade = reversible(
    index("idx_friendships_user_status", "friendships", ["user_a_id", "status"], where="status = 'accepted'"),
    index("idx_friendships_reverse_status", "friendships", ["user_b_id", "status"], where="status = 'accepted'"),
    index("idx_mentorships_mentor_status", "mentorships", ["mentor_id", "status"]),
    index("idx_mentorships_mentee_status", "mentorships", ["mentee_id", "status"]),
    index("idx_crew_members_user_crew", "crew_members", ["user_id", "crew_id"]),
    index("idx_follows_followed", "follows", ["followed_id", "created_at desc"]),
    index("idx_blocks_blocked", "blocks", ["blocked_id"]),
    index("idx_high_fives_receiver", "high_fives", ["receiver_id", "created_at desc"]),
    index("idx_high_fives_sender", "high_fives", ["sender_id", "created_at desc"]),
)
