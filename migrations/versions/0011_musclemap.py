"""The database of musclemap, a fitness network, as the application had it before."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = """
create schema musclemap;

create table musclemap.users (
    id uuid primary key default gen_random_uuid(),
    username text not null unique,
    email text not null unique,
    display_name text not null,
    xp bigint not null default 0,
    created_at timestamptz not null default now()
);

create table musclemap.user_profile_extended (
    user_id uuid primary key references musclemap.users (id) on delete cascade,
    country varchar(2),
    bio text,
    ghost_mode boolean,
    leaderboard_opt_in boolean,
    updated_at timestamptz not null default now()
);

create table musclemap.activity_events (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references musclemap.users (id) on delete cascade,
    event_type varchar(40) not null,
    payload jsonb not null default '{}',
    created_at timestamptz not null default now()
);

create index idx_activity_events_user on musclemap.activity_events (user_id);

create index idx_activity_events_type on musclemap.activity_events (event_type);

create index idx_activity_events_created on musclemap.activity_events (created_at);

create table musclemap.friendships (
    id bigint generated always as identity primary key,
    user_a_id uuid not null references musclemap.users (id) on delete cascade,
    user_b_id uuid not null references musclemap.users (id) on delete cascade,
    status varchar(10) not null default 'pending',
    created_at timestamptz not null default now()
);

create table musclemap.mentorships (
    id bigint generated always as identity primary key,
    mentor_id uuid not null references musclemap.users (id) on delete cascade,
    mentee_id uuid not null references musclemap.users (id) on delete cascade,
    status varchar(10) not null default 'pending',
    created_at timestamptz not null default now()
);

create table musclemap.crews (
    id bigint generated always as identity primary key,
    name text not null unique,
    created_at timestamptz not null default now()
);

create table musclemap.crew_members (
    crew_id bigint not null references musclemap.crews (id) on delete cascade,
    user_id uuid not null references musclemap.users (id) on delete cascade,
    role varchar(10) not null default 'member',
    joined_at timestamptz not null default now(),
    primary key (crew_id, user_id)
);

create table musclemap.follows (
    follower_id uuid not null references musclemap.users (id) on delete cascade,
    followed_id uuid not null references musclemap.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (follower_id, followed_id)
);

create table musclemap.blocks (
    blocker_id uuid not null references musclemap.users (id) on delete cascade,
    blocked_id uuid not null references musclemap.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (blocker_id, blocked_id)
);

create table musclemap.high_fives (
    id bigint generated always as identity primary key,
    sender_id uuid not null references musclemap.users (id) on delete cascade,
    receiver_id uuid not null references musclemap.users (id) on delete cascade,
    created_at timestamptz not null default now()
);

create table musclemap.muscles (
    id int primary key,
    name text not null unique
);

create table musclemap.exercises (
    id int primary key,
    name text not null unique
);

create table musclemap.exercise_activations (
    exercise_id int not null references musclemap.exercises (id) on delete cascade,
    muscle_id int not null references musclemap.muscles (id) on delete cascade,
    activation smallint not null,
    primary key (exercise_id, muscle_id)
);

create table musclemap.conversations (
    id bigint generated always as identity primary key,
    created_at timestamptz not null default now()
);

create table musclemap.conversation_participants (
    conversation_id bigint not null references musclemap.conversations (id) on delete cascade,
    user_id uuid not null references musclemap.users (id) on delete cascade,
    last_read_at timestamptz,
    muted boolean not null default false,
    joined_at timestamptz not null default now(),
    primary key (conversation_id, user_id)
);

create table musclemap.workouts (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references musclemap.users (id) on delete cascade,
    title text not null,
    minutes smallint not null,
    notes text,
    created_at timestamptz not null default now()
);

create index idx_workouts_user on musclemap.workouts (user_id);

create table musclemap.xp_history (
    id bigint generated always as identity primary key,
    user_id uuid not null references musclemap.users (id) on delete cascade,
    amount int not null,
    reason varchar(40) not null,
    created_at timestamptz not null default now()
);

create index idx_xp_history_user on musclemap.xp_history (user_id);

create table musclemap.request_logs (
    id bigint generated always as identity primary key,
    user_id uuid,
    method varchar(8) not null,
    path text not null,
    status smallint not null,
    milliseconds int not null,
    created_at timestamptz not null default now()
);

create table musclemap.tracked_errors (
    id bigint generated always as identity primary key,
    message text not null,
    stack text,
    resolved boolean not null default false,
    created_at timestamptz not null default now()
);

create table musclemap.credit_ledger (
    id bigint generated always as identity primary key,
    user_id uuid not null references musclemap.users (id),
    amount int not null,
    reason varchar(40) not null,
    created_at timestamptz not null default now()
);

create table musclemap.credit_balances (
    user_id uuid primary key references musclemap.users (id),
    balance bigint not null default 0,
    version bigint not null default 0
);

create materialized view musclemap.mv_xp_rankings as
    select u.id as user_id, u.username, p.country, u.xp, rank() over (order by u.xp desc) as rank
    from musclemap.users u left join musclemap.user_profile_extended p on p.user_id = u.id
    where coalesce(p.leaderboard_opt_in, true) and not coalesce(p.ghost_mode, false);

create unique index mv_xp_rankings_user on musclemap.mv_xp_rankings (user_id);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop schema musclemap cascade")
