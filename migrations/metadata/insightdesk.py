"""The tables of insightdesk at head."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ENUM, JSONB

metadata = MetaData(schema="insightdesk")

ARTICLE_STATUS = ENUM("DRAFT", "PUBLISHED", "ARCHIVED", name="article_status", schema="insightdesk")
PRIORITY = ENUM("LOW", "MEDIUM", "HIGH", "URGENT", name="priority", schema="insightdesk")
TICKET_STATUS = ENUM("OPEN", "IN_PROGRESS", "PENDING", "RESOLVED", "CLOSED", name="ticket_status", schema="insightdesk")
USER_ROLE = ENUM("CUSTOMER", "AGENT", "ADMIN", name="user_role", schema="insightdesk")

Table(
    "organizations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", USER_ROLE, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

Table(
    "tickets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text),
    Column("status", TICKET_STATUS, nullable=False),
    Column("priority", PRIORITY, nullable=False),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False),
    Column("assignee_id", Text, ForeignKey("users.id")),
    Column("created_by_id", Text, ForeignKey("users.id"), nullable=False),
    Column("first_response_at", DateTime(timezone=True)),
    Column("resolved_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index("idx_tickets_assignee_id", "assignee_id"),
    Index("idx_tickets_organization_id", "organization_id"),
    Index("idx_tickets_created_by_id", "created_by_id"),
    Index("idx_tickets_status", "status"),
    Index("idx_tickets_created_at", text("created_at DESC")),
    Index("idx_tickets_updated_at", text("updated_at DESC")),
    Index("idx_tickets_status_priority", "status", "priority"),
    Index("idx_tickets_org_status_created", "organization_id", "status", text("created_at DESC")),
    Index("idx_tickets_assignee_status", "assignee_id", "status", postgresql_where=text("(assignee_id IS NOT NULL)")),
    Index(
        "idx_active_tickets",
        text("created_at DESC"),
        "priority",
        postgresql_where=text(
            "(status = ANY (ARRAY['OPEN'::insightdesk.ticket_status, 'IN_PROGRESS'::insightdesk.ticket_status, 'PENDING'::insightdesk.ticket_status]))"
        ),
    ),
    Index(
        "idx_unassigned_tickets",
        "organization_id",
        text("priority DESC"),
        text("created_at DESC"),
        postgresql_where=text("((assignee_id IS NULL) AND (status = 'OPEN'::insightdesk.ticket_status))"),
    ),
    Index(
        "idx_tickets_search",
        text("to_tsvector('english'::regconfig, (title || ' '::text) || COALESCE(description, ''::text))"),
        postgresql_using="gin",
    ),
    Index("idx_tickets_keyset", text("created_at DESC"), text("id DESC")),
    Index(
        "idx_tickets_org_keyset",
        "organization_id",
        text("created_at DESC"),
        text("id DESC"),
        postgresql_include=["title", "status", "priority", "assignee_id"],
    ),
)

Table(
    "comments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ticket_id", Text, ForeignKey("tickets.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("content", Text, nullable=False),
    Column("is_internal", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index("idx_comments_ticket_id", "ticket_id"),
    Index("idx_comments_user_id", "user_id"),
)

Table(
    "attachments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ticket_id", Text, ForeignKey("tickets.id", ondelete="CASCADE"), nullable=False),
    Column("comment_id", Text, ForeignKey("comments.id", ondelete="CASCADE")),
    Column("uploaded_by_id", Text, ForeignKey("users.id"), nullable=False),
    Column("filename", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("url", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

Table(
    "categories",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False, unique=True),
)

Table(
    "articles",
    metadata,
    Column("id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("slug", Text, nullable=False, unique=True),
    Column("content", Text, nullable=False),
    Column("status", ARTICLE_STATUS, nullable=False),
    Column("category_id", Text, ForeignKey("categories.id")),
    Column("author_id", Text, ForeignKey("users.id"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index("idx_articles_category_status", "category_id", "status"),
    Index("idx_articles_status_updated", "status", text("updated_at DESC")),
    Index(
        "idx_published_articles",
        "category_id",
        text("updated_at DESC"),
        postgresql_where=text("(status = 'PUBLISHED'::insightdesk.article_status)"),
    ),
    Index(
        "idx_articles_search",
        text("to_tsvector('english'::regconfig, (title || ' '::text) || content)"),
        postgresql_using="gin",
    ),
)

Table(
    "audit_logs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("action", String(50), nullable=False),
    Column("entity_type", String(50), nullable=False),
    Column("entity_id", String(50), nullable=False),
    Column("user_id", String(50)),
    Column("organization_id", String(50), nullable=False),
    Column("metadata", JSONB),
    Column("created_at", DateTime(timezone=True), primary_key=True),
)
