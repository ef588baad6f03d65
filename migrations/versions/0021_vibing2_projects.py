"""Users, and lists of projects of vibing2: one's own, the popular, the recent, by type and by name."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0021"
down_revision = "0020"

index = partial(o.CreateIndexConcurrently, schema="vibing2")

upgrade, downgrade = reversible(
    index("idx_user_email_password", "User", ["email", "password"]),
    index("idx_user_created_at", "User", ["createdAt"]),
    index("idx_user_plan", "User", ["plan"]),
    index("idx_project_user_updated", "Project", ["userId", '"updatedAt" desc']),
    index("idx_project_user_created", "Project", ["userId", '"createdAt" desc']),
    index("idx_project_visibility_likes", "Project", ["visibility", "likes desc"]),
    index("idx_project_visibility_forks", "Project", ["visibility", "forks desc"]),
    index("idx_project_visibility_views", "Project", ["visibility", "views desc"]),
    index("idx_project_visibility_created", "Project", ["visibility", '"createdAt" desc']),
    index("idx_project_visibility_type_updated", "Project", ["visibility", "type", '"updatedAt" desc']),
    index("idx_project_featured_visibility_updated", "Project", ["featured", "visibility", '"updatedAt" desc']),
    index("idx_project_name_gin", "Project", ["to_tsvector('english', name)"], using="gin"),
)
