"""Messages of a project of vibing2 page by page, in one range of one index."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0023"
down_revision = "0022"

index = partial(o.CreateIndexConcurrently, schema="vibing2")

upgrade, downgrade = reversible(
    index("idx_message_project_cursor", "Message", ["projectId", "createdAt", "id"]),
    index("idx_message_project_created_desc", "Message", ["projectId", '"createdAt" desc']),
    index("idx_message_project_role_created", "Message", ["projectId", "role", '"createdAt" desc']),
)
