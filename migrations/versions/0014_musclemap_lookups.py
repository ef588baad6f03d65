"""Exercises of a muscle, and conversations of a user, from an index alone."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0014"
down_revision = "0013"

index = partial(o.CreateIndexConcurrently, schema="musclemap")

upgrade, downgrade = reversible(
    index(
        "idx_exercise_activations_muscle",
        "exercise_activations",
        ["muscle_id", "activation desc"],
        include=["exercise_id"],
    ),
    index(
        "idx_conversation_participants_user_unread",
        "conversation_participants",
        ["user_id", "last_read_at"],
        include=["conversation_id", "muted"],
    ),
)
