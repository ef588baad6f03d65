"""The database of proposals, their approval and their analytics, as the application had it before."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"

TABLES = """
create schema proposals;

create table proposals.users (
    id text primary key,
    email text not null unique,
    name text not null
);

create table proposals.customers (
    id text primary key,
    name text not null,
    industry text,
    created_at timestamptz not null default now()
);

create table proposals.products (
    id text primary key,
    sku text not null unique,
    name text not null,
    price numeric(12, 2) not null
);

create table proposals.proposals (
    id text primary key,
    title text not null,
    status text not null default 'DRAFT',
    customer_id text not null references proposals.customers (id),
    created_by text not null references proposals.users (id),
    value numeric(14, 2),
    due_at timestamptz,
    approved_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create index proposals_status on proposals.proposals (status);

create index proposals_customer on proposals.proposals (customer_id);

create table proposals.proposal_products (
    id text primary key,
    proposal_id text not null references proposals.proposals (id) on delete cascade,
    product_id text not null references proposals.products (id),
    quantity int not null,
    unit_price numeric(12, 2) not null
);

create index proposal_products_proposal on proposals.proposal_products (proposal_id);

create table proposals.sections (
    id text primary key,
    proposal_id text not null references proposals.proposals (id) on delete cascade,
    position int not null,
    title text not null,
    body text not null,
    unique (proposal_id, position)
);

create table proposals.content (
    id text primary key,
    type text not null,
    category text not null,
    title text not null,
    body text not null,
    is_active boolean not null default true,
    created_at timestamptz not null default now()
);

create index content_type on proposals.content (type);

create table proposals.approval_executions (
    id text primary key,
    proposal_id text not null references proposals.proposals (id) on delete cascade,
    workflow_id text not null,
    status text not null,
    started_at timestamptz not null default now(),
    completed_at timestamptz
);

create index approval_executions_workflow on proposals.approval_executions (workflow_id);

create table proposals.validation_issues (
    id text primary key,
    entity_type text not null,
    entity_id text not null,
    severity text not null,
    status text not null,
    message text not null,
    detected_at timestamptz not null default now()
);

create index validation_issues_entity on proposals.validation_issues (entity_id);

create table proposals.hypothesis_validation_events (
    id text primary key,
    user_id text not null references proposals.users (id),
    hypothesis text not null,
    timestamp timestamptz not null default now(),
    target_value double precision not null,
    actual_value double precision,
    performance_improvement double precision
);

create index hypothesis_validation_events_user on proposals.hypothesis_validation_events (user_id);

create index hypothesis_validation_events_hypothesis on proposals.hypothesis_validation_events (hypothesis);

create table proposals.performance_baselines (
    id text primary key,
    hypothesis text not null,
    metric_name text not null,
    baseline_value double precision not null,
    collection_date timestamptz not null default now()
);

create index performance_baselines_hypothesis on proposals.performance_baselines (hypothesis);

create table proposals.audit_logs (
    id text primary key,
    user_id text,
    action text not null,
    entity text not null,
    entity_id text not null,
    details jsonb,
    timestamp timestamptz not null default now()
);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop schema proposals cascade")
