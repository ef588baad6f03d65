"""The tables of vibing2 at head."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

metadata = MetaData(schema="vibing2")

Table(
    "User",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("password", Text),
    Column("name", Text),
    Column("plan", Text, nullable=False),
    Column("createdAt", TIMESTAMP(precision=3), nullable=False),
    Column("updatedAt", TIMESTAMP(precision=3), nullable=False),
    Index("idx_user_email_password", "email", "password"),
    Index("idx_user_created_at", "createdAt"),
    Index("idx_user_plan", "plan"),
)

Table(
    "Account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("userId", Text, ForeignKey("User.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("providerAccountId", Text, nullable=False),
    Column("expiresAt", TIMESTAMP(precision=3)),
    UniqueConstraint("provider", "providerAccountId", name="Account_provider_providerAccountId_key"),
    Index("idx_account_user", "userId"),
    Index("idx_account_expires", "expiresAt", postgresql_where=text('("expiresAt" IS NOT NULL)')),
)

Table(
    "Session",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sessionToken", Text, nullable=False, unique=True),
    Column("userId", Text, ForeignKey("User.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("expires", TIMESTAMP(precision=3), nullable=False),
    Index("idx_session_user", "userId"),
    Index("idx_session_expires", "expires"),
)

Table(
    "VerificationToken",
    metadata,
    Column("identifier", Text, nullable=False),
    Column("token", Text, primary_key=True),
    Column("expires", TIMESTAMP(precision=3), nullable=False),
    Index("idx_verification_token_identifier", "identifier", "token"),
    Index("idx_verification_token_expires", "expires"),
)

Table(
    "Project",
    metadata,
    Column("id", Text, primary_key=True),
    Column("userId", Text, ForeignKey("User.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("forkedFromId", Text, ForeignKey("Project.id", ondelete="SET NULL", onupdate="CASCADE")),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("type", Text, nullable=False),
    Column("visibility", Text, nullable=False),
    Column("featured", Boolean, nullable=False),
    Column("likes", Integer, nullable=False),
    Column("forks", Integer, nullable=False),
    Column("views", Integer, nullable=False),
    Column("createdAt", TIMESTAMP(precision=3), nullable=False),
    Column("updatedAt", TIMESTAMP(precision=3), nullable=False),
    Index("Project_type_idx", "type"),
    Index("Project_visibility_featured_idx", "visibility", "featured"),
    Index("idx_project_user_updated", "userId", text('"updatedAt" DESC')),
    Index("idx_project_user_created", "userId", text('"createdAt" DESC')),
    Index("idx_project_visibility_likes", "visibility", text("likes DESC")),
    Index("idx_project_visibility_forks", "visibility", text("forks DESC")),
    Index("idx_project_visibility_views", "visibility", text("views DESC")),
    Index("idx_project_visibility_created", "visibility", text('"createdAt" DESC')),
    Index("idx_project_visibility_type_updated", "visibility", "type", text('"updatedAt" DESC')),
    Index("idx_project_featured_visibility_updated", "featured", "visibility", text('"updatedAt" DESC')),
    Index("idx_project_name_gin", text("to_tsvector('english'::regconfig, name)"), postgresql_using="gin"),
    Index("idx_project_forked_from", "forkedFromId", postgresql_where=text('("forkedFromId" IS NOT NULL)')),
)

Table(
    "ProjectFile",
    metadata,
    Column("id", Text, primary_key=True),
    Column("projectId", Text, ForeignKey("Project.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("path", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("createdAt", TIMESTAMP(precision=3), nullable=False),
    Column("updatedAt", TIMESTAMP(precision=3), nullable=False),
    Index("idx_project_file_project_path", "projectId", "path"),
    Index("idx_project_file_project_updated", "projectId", text('"updatedAt" DESC')),
    Index("idx_project_file_language", "language"),
    Index("idx_project_file_project_language", "projectId", "language"),
)

Table(
    "Message",
    metadata,
    Column("id", Text, primary_key=True),
    Column("projectId", Text, ForeignKey("Project.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("createdAt", TIMESTAMP(precision=3), nullable=False),
    Index("idx_message_project_cursor", "projectId", "createdAt", "id"),
    Index("idx_message_project_created_desc", "projectId", text('"createdAt" DESC')),
    Index("idx_message_project_role_created", "projectId", "role", text('"createdAt" DESC')),
)

Table(
    "TokenUsage",
    metadata,
    Column("id", Text, primary_key=True),
    Column("userId", Text, ForeignKey("User.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("projectId", Text, ForeignKey("Project.id", ondelete="SET NULL", onupdate="CASCADE")),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("timestamp", TIMESTAMP(precision=3), nullable=False),
    Index("idx_token_usage_user_timestamp_desc", "userId", text('"timestamp" DESC')),
    Index("idx_token_usage_user_endpoint_timestamp", "userId", "endpoint", text('"timestamp" DESC')),
    Index("idx_token_usage_project", "projectId", text('"timestamp" DESC')),
    Index("idx_token_usage_timestamp", "timestamp"),
    Index("idx_token_usage_model", "model", text('"timestamp" DESC')),
)

Table(
    "ProjectCollaborator",
    metadata,
    Column("id", Text, primary_key=True),
    Column("projectId", Text, ForeignKey("Project.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("userId", Text, ForeignKey("User.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("role", Text, nullable=False),
    Column("invitedById", Text, ForeignKey("User.id", ondelete="SET NULL", onupdate="CASCADE")),
    Column("createdAt", TIMESTAMP(precision=3), nullable=False),
    Index("idx_collaborator_project_user", "projectId", "userId", unique=True),
    Index("idx_collaborator_user", "userId", text('"createdAt" DESC')),
    Index("idx_collaborator_invited_by", "invitedById", postgresql_where=text('("invitedById" IS NOT NULL)')),
)

Table(
    "ProjectLike",
    metadata,
    Column("id", Text, primary_key=True),
    Column("projectId", Text, ForeignKey("Project.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("userId", Text, ForeignKey("User.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("createdAt", TIMESTAMP(precision=3), nullable=False),
    Index("idx_project_like_project_user", "projectId", "userId", unique=True),
    Index("idx_project_like_user", "userId", text('"createdAt" DESC')),
    Index("idx_project_like_created", "createdAt"),
)

Table(
    "Deployment",
    metadata,
    Column("id", Text, primary_key=True),
    Column("projectId", Text, ForeignKey("Project.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("status", Text, nullable=False),
    Column("url", Text),
    Column("createdAt", TIMESTAMP(precision=3), nullable=False),
    Index("idx_deployment_project_created", "projectId", text('"createdAt" DESC')),
    Index("idx_deployment_status", "status", text('"createdAt" DESC')),
)
