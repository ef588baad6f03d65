"""The database of vibing2, an AI code platform, as Prisma made it."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"

TABLES = """
create schema vibing2;

create table vibing2."User" (
    id text primary key,
    email text not null unique,
    password text,
    name text,
    plan text not null default 'free',
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null default current_timestamp
);

create table vibing2."Account" (
    id text primary key,
    "userId" text not null references vibing2."User" (id) on delete cascade on update cascade,
    provider text not null,
    "providerAccountId" text not null,
    "expiresAt" timestamp(3),
    unique (provider, "providerAccountId")
);

create table vibing2."Session" (
    id text primary key,
    "sessionToken" text not null unique,
    "userId" text not null references vibing2."User" (id) on delete cascade on update cascade,
    expires timestamp(3) not null
);

create table vibing2."VerificationToken" (
    identifier text not null,
    token text primary key,
    expires timestamp(3) not null
);

create table vibing2."Project" (
    id text primary key,
    "userId" text not null references vibing2."User" (id) on delete cascade on update cascade,
    "forkedFromId" text references vibing2."Project" (id) on delete set null on update cascade,
    name text not null,
    description text,
    type text not null,
    visibility text not null default 'private',
    featured boolean not null default false,
    likes int not null default 0,
    forks int not null default 0,
    views int not null default 0,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null default current_timestamp
);

create index "Project_type_idx" on vibing2."Project" (type);

create index "Project_visibility_featured_idx" on vibing2."Project" (visibility, featured);

create table vibing2."ProjectFile" (
    id text primary key,
    "projectId" text not null references vibing2."Project" (id) on delete cascade on update cascade,
    path text not null,
    language text not null,
    content text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null default current_timestamp
);

create table vibing2."Message" (
    id text primary key,
    "projectId" text not null references vibing2."Project" (id) on delete cascade on update cascade,
    role text not null,
    content text not null,
    "createdAt" timestamp(3) not null default current_timestamp
);

create table vibing2."TokenUsage" (
    id text primary key,
    "userId" text not null references vibing2."User" (id) on delete cascade on update cascade,
    "projectId" text references vibing2."Project" (id) on delete set null on update cascade,
    endpoint text not null,
    model text not null,
    tokens int not null,
    timestamp timestamp(3) not null default current_timestamp
);

create table vibing2."ProjectCollaborator" (
    id text primary key,
    "projectId" text not null references vibing2."Project" (id) on delete cascade on update cascade,
    "userId" text not null references vibing2."User" (id) on delete cascade on update cascade,
    role text not null default 'viewer',
    "invitedById" text references vibing2."User" (id) on delete set null on update cascade,
    "createdAt" timestamp(3) not null default current_timestamp
);

create table vibing2."ProjectLike" (
    id text primary key,
    "projectId" text not null references vibing2."Project" (id) on delete cascade on update cascade,
    "userId" text not null references vibing2."User" (id) on delete cascade on update cascade,
    "createdAt" timestamp(3) not null default current_timestamp
);

create table vibing2."Deployment" (
    id text primary key,
    "projectId" text not null references vibing2."Project" (id) on delete cascade on update cascade,
    status text not null,
    url text,
    "createdAt" timestamp(3) not null default current_timestamp
);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop schema vibing2 cascade")
