"""The dashboard of saas: its view can be refreshed while it is read, and what it shows of a user is found by index."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0008"
down_revision = "0007"

index = partial(o.CreateIndexConcurrently, schema="saas")

upgrade, downgrade = reversible(
    # what REFRESH MATERIALIZED VIEW CONCURRENTLY asks for
    index("idx_dashboard_mv_unique", "dashboard_summary_mv", ["user_id"], unique=True),
    index("idx_projects_user", "projects", ["user_id"]),
    index("idx_tasks_user_active", "tasks", ["user_id"], where="status <> 'archived'"),
    index("idx_tasks_project", "tasks", ["project_id"]),
    index("idx_user_settings_user", "user_settings", ["user_id"]),
)
