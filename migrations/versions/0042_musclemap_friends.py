"""The friends of a user of musclemap from the index alone: whoever has thousands had as many pages of the table to read."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0042"
down_revision = "0041"

ACCEPTED = "status = 'accepted'"


def covering(name: str, user: str, friend: str) -> o.ReplaceIndexConcurrently:
    """Give an index that finds the friends of a user what they are."""
    there = [user, "status"]
    old = {"columns": there, "where": ACCEPTED}
    return o.ReplaceIndexConcurrently(
        name, "friendships", there, include=[friend], where=ACCEPTED, old=old, schema="musclemap"
    )


upgrade, downgrade = reversible(
    covering("idx_friendships_user_status", "user_a_id", "user_b_id"),
    covering("idx_friendships_reverse_status", "user_b_id", "user_a_id"),
)
