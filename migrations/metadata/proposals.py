"""The tables of proposals at head."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(schema="proposals")

Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
)

Table(
    "customers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("industry", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

Table(
    "products",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sku", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("price", Numeric(12, 2), nullable=False),
)

Table(
    "proposals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False),
    Column("created_by", Text, ForeignKey("users.id"), nullable=False),
    Column("value", Numeric(14, 2)),
    Column("due_at", DateTime(timezone=True)),
    Column("approved_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index("proposals_status", "status"),
    Index("proposals_customer", "customer_id"),
    Index("idx_proposal_status_customer_created", "status", "customer_id", text("created_at DESC")),
)

Table(
    "proposal_products",
    metadata,
    Column("id", Text, primary_key=True),
    Column("proposal_id", Text, ForeignKey("proposals.id", ondelete="CASCADE"), nullable=False),
    Column("product_id", Text, ForeignKey("products.id"), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", Numeric(12, 2), nullable=False),
    Index("proposal_products_proposal", "proposal_id"),
)

Table(
    "sections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("proposal_id", Text, ForeignKey("proposals.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("proposal_id", "position", name="sections_proposal_id_position_key"),
)

Table(
    "content",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("content_type", "type"),
    Index("idx_content_search_optimization", "type", "is_active", "category", text("created_at DESC")),
)

Table(
    "approval_executions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("proposal_id", Text, ForeignKey("proposals.id", ondelete="CASCADE"), nullable=False),
    Column("workflow_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    Index("approval_executions_workflow", "workflow_id"),
    Index("idx_approval_execution_status_workflow_started", "status", "workflow_id", text("started_at DESC")),
)

Table(
    "validation_issues",
    metadata,
    Column("id", Text, primary_key=True),
    Column("entity_type", Text, nullable=False),
    Column("entity_id", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("detected_at", DateTime(timezone=True), nullable=False),
    Index("validation_issues_entity", "entity_id"),
    Index(
        "idx_validation_issues_entity_severity_status", "entity_type", "severity", "status", text("detected_at DESC")
    ),
)

Table(
    "hypothesis_validation_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("hypothesis", Text, nullable=False),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    Column("target_value", Double, nullable=False),
    Column("actual_value", Double),
    Column("performance_improvement", Double),
    Index("hypothesis_validation_events_user", "user_id"),
    Index("hypothesis_validation_events_hypothesis", "hypothesis"),
    Index("idx_hypothesis_events_user_timestamp_hypothesis", "user_id", text('"timestamp" DESC'), "hypothesis"),
    Index(
        "idx_hypothesis_validation_compound",
        "hypothesis",
        "user_id",
        text('"timestamp" DESC'),
        "target_value",
        "actual_value",
        postgresql_where=text("(actual_value IS NOT NULL)"),
    ),
)

Table(
    "performance_baselines",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hypothesis", Text, nullable=False),
    Column("metric_name", Text, nullable=False),
    Column("baseline_value", Double, nullable=False),
    Column("collection_date", DateTime(timezone=True), nullable=False),
    Index("performance_baselines_hypothesis", "hypothesis"),
    Index("idx_performance_baseline_lookup", "hypothesis", "metric_name", text("collection_date DESC")),
)

Table(
    "audit_logs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text),
    Column("action", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("entity_id", Text, nullable=False),
    Column("details", JSONB),
    Column("timestamp", DateTime(timezone=True), primary_key=True),
)
