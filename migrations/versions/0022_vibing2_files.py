"""Files of a project of vibing2 by path, by time and by language."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0022"
down_revision = "0021"

index = partial(o.CreateIndexConcurrently, schema="vibing2")

upgrade, downgrade = reversible(
    index("idx_project_file_project_path", "ProjectFile", ["projectId", "path"]),
    index("idx_project_file_project_updated", "ProjectFile", ["projectId", '"updatedAt" desc']),
    index("idx_project_file_language", "ProjectFile", ["language"]),
    index("idx_project_file_project_language", "ProjectFile", ["projectId", "language"]),
)
