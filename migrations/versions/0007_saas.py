"""The database of saas, dashboards and transactions, as the application had it before."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
create schema saas;

create table saas.users (
    id bigint generated always as identity primary key,
    email text not null unique,
    name text not null,
    plan text not null default 'free',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create index idx_users_updated_at on saas.users (updated_at);

create table saas.projects (
    id bigint generated always as identity primary key,
    user_id bigint not null references saas.users (id) on delete cascade,
    name text not null,
    status text not null default 'active',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table saas.tasks (
    id bigint generated always as identity primary key,
    user_id bigint not null references saas.users (id) on delete cascade,
    project_id bigint not null references saas.projects (id) on delete cascade,
    title text not null,
    status text not null default 'open',
    due_at timestamptz,
    created_at timestamptz not null default now()
);

create table saas.user_settings (
    id bigint generated always as identity primary key,
    user_id bigint not null references saas.users (id) on delete cascade,
    key text not null,
    value jsonb not null
);

create table saas.transactions (
    id bigint generated always as identity primary key,
    user_id bigint not null references saas.users (id),
    amount numeric(12, 2) not null,
    currency char(3) not null default 'EUR',
    kind text not null,
    description text not null,
    created_at timestamptz not null default now()
);

create materialized view saas.dashboard_summary_mv as
    select u.id as user_id, u.plan, coalesce(p.projects, 0) as projects,
           count(t.id) as tasks,
           count(t.id) filter (where t.status = 'done') as done,
           count(t.id) filter (where t.status = 'open' and t.due_at < current_date) as overdue,
           max(t.created_at) as last_task_at
    from saas.users u
    left join (select user_id, count(*) as projects from saas.projects group by user_id) p on p.user_id = u.id
    left join saas.tasks t on t.user_id = u.id
    group by u.id, p.projects;
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop schema saas cascade")
