"""The friends of a user of musclemap from the index alone: whoever has thousands had as many pages of the table to read."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0042"
down_revision = "0041"

ACCEPTED = "status = 'accepted'"
covering = partial(o.ReplaceIndexConcurrently, where=ACCEPTED, schema="musclemap")


def without(column: str) -> dict[str, object]:
    """Give the index that was there."""
    return {"columns": [column, "status"], "where": ACCEPTED}


upgrade, downgrade = reversible(
    covering(
        "idx_friendships_user_status",
        "friendships",
        ["user_a_id", "status"],
        include=["user_b_id"],
        old=without("user_a_id"),
    ),
    covering(
        "idx_friendships_reverse_status",
        "friendships",
        ["user_b_id", "status"],
        include=["user_a_id"],
        old=without("user_b_id"),
    ),
)
