"""The other foreign keys and lists of vibing2, of which a delete and a page read whole tables."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0025"
down_revision = "0024"

index = partial(o.CreateIndexConcurrently, schema="vibing2")

upgrade, downgrade = reversible(
    index("idx_account_user", "Account", ["userId"]),
    index("idx_account_expires", "Account", ["expiresAt"], where='"expiresAt" is not null'),
    index("idx_session_user", "Session", ["userId"]),
    index("idx_session_expires", "Session", ["expires"]),
    index("idx_verification_token_identifier", "VerificationToken", ["identifier", "token"]),
    index("idx_verification_token_expires", "VerificationToken", ["expires"]),
    index("idx_project_forked_from", "Project", ["forkedFromId"], where='"forkedFromId" is not null'),
    index("idx_collaborator_project_user", "ProjectCollaborator", ["projectId", "userId"], unique=True),
    index("idx_collaborator_user", "ProjectCollaborator", ["userId", '"createdAt" desc']),
    index("idx_collaborator_invited_by", "ProjectCollaborator", ["invitedById"], where='"invitedById" is not null'),
    index("idx_project_like_project_user", "ProjectLike", ["projectId", "userId"], unique=True),
    index("idx_project_like_user", "ProjectLike", ["userId", '"createdAt" desc']),
    index("idx_project_like_created", "ProjectLike", ["createdAt"]),
    index("idx_deployment_project_created", "Deployment", ["projectId", '"createdAt" desc']),
    index("idx_deployment_status", "Deployment", ["status", '"createdAt" desc']),
)
