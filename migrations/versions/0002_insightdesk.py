"""The database of insightdesk, a help desk, as the application had it before."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
create schema insightdesk;

create type insightdesk.user_role as enum ('CUSTOMER', 'AGENT', 'ADMIN');
create type insightdesk.ticket_status as enum ('OPEN', 'IN_PROGRESS', 'PENDING', 'RESOLVED', 'CLOSED');
create type insightdesk.priority as enum ('LOW', 'MEDIUM', 'HIGH', 'URGENT');
create type insightdesk.article_status as enum ('DRAFT', 'PUBLISHED', 'ARCHIVED');

create table insightdesk.organizations (
    id text primary key,
    name text not null,
    slug text not null unique,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table insightdesk.users (
    id text primary key,
    organization_id text not null references insightdesk.organizations (id),
    email text not null unique,
    name text not null,
    role insightdesk.user_role not null default 'CUSTOMER',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table insightdesk.tickets (
    id text primary key,
    title text not null,
    description text,
    status insightdesk.ticket_status not null default 'OPEN',
    priority insightdesk.priority not null default 'MEDIUM',
    organization_id text not null references insightdesk.organizations (id),
    assignee_id text references insightdesk.users (id),
    created_by_id text not null references insightdesk.users (id),
    first_response_at timestamptz,
    resolved_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table insightdesk.comments (
    id text primary key,
    ticket_id text not null references insightdesk.tickets (id) on delete cascade,
    user_id text not null references insightdesk.users (id),
    content text not null,
    is_internal boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table insightdesk.attachments (
    id text primary key,
    ticket_id text not null references insightdesk.tickets (id) on delete cascade,
    comment_id text references insightdesk.comments (id) on delete cascade,
    uploaded_by_id text not null references insightdesk.users (id),
    filename text not null,
    mime_type text not null,
    size bigint not null,
    url text not null,
    created_at timestamptz not null default now()
);

create table insightdesk.categories (
    id text primary key,
    name text not null,
    slug text not null unique
);

create table insightdesk.articles (
    id text primary key,
    title text not null,
    slug text not null unique,
    content text not null,
    status insightdesk.article_status not null default 'DRAFT',
    category_id text references insightdesk.categories (id),
    author_id text not null references insightdesk.users (id),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table insightdesk.audit_logs (
    id uuid default gen_random_uuid(),
    action varchar(50) not null,
    entity_type varchar(50) not null,
    entity_id varchar(50) not null,
    user_id varchar(50),
    organization_id varchar(50) not null,
    metadata jsonb,
    created_at timestamptz default now(),
    primary key (id, created_at)
);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop schema insightdesk cascade")
