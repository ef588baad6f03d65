"""What vibing2's users spend, by user, endpoint, project, model and time."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0024"
down_revision = "0023"

index = partial(o.CreateIndexConcurrently, schema="vibing2")

upgrade, downgrade = reversible(
    index("idx_token_usage_user_timestamp_desc", "TokenUsage", ["userId", "timestamp desc"]),
    index("idx_token_usage_user_endpoint_timestamp", "TokenUsage", ["userId", "endpoint", "timestamp desc"]),
    index("idx_token_usage_project", "TokenUsage", ["projectId", "timestamp desc"]),
    index("idx_token_usage_timestamp", "TokenUsage", ["timestamp"]),
    index("idx_token_usage_model", "TokenUsage", ["model", "timestamp desc"]),
)
