"""The feed and the workout history of musclemap page by page, in one range of one index."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0012"
down_revision = "0011"

index = partial(o.CreateIndexConcurrently, schema="musclemap")

upgrade, downgrade = reversible(
    index(
        "idx_activity_events_user_type_keyset",
        "activity_events",
        ["user_id", "event_type", "created_at desc", "id desc"],
    ),
    index("idx_activity_events_user_keyset", "activity_events", ["user_id", "created_at desc", "id desc"]),
    index("idx_workouts_user_keyset", "workouts", ["user_id", "created_at desc", "id desc"]),
)
