create schema pgopt;
comment on schema pgopt is 'what pgopt remembers: half-done revisions, how far batches came, what undoes a change';
revoke all on schema pgopt from public;

create table pgopt.version (
    version integer not null,
    chain text not null,
    before integer not null,
    installed_at timestamptz not null default now(),
    primary key (version, chain)
);
comment on table pgopt.version is 'the versions of this schema, and whose revisions have asked for them';
comment on column pgopt.version.before is 'the version that these had asked for before';

create table pgopt.run (
    chain text not null,
    revision text not null,
    direction text not null check (direction in ('upgrade', 'downgrade')),
    operation text not null,
    begun text[] not null,
    mixed boolean not null,
    taken_back boolean not null default false,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    primary key (chain, revision)
);
comment on table pgopt.run is 'revisions that have begun and are not stamped yet';
comment on column pgopt.run.begun is 'all operations of it that have begun, each with what it is about: those are taken back';
comment on column pgopt.run.taken_back is 'whether an undo was the last to go on with it';
comment on column pgopt.run.mixed is 'whether plain operations of it were committed with the others';

create table pgopt.progress (
    chain text not null,
    revision text not null,
    direction text not null,
    task text not null,
    key text[] not null,
    last_key text[],
    end_key text[] not null,
    rows_done bigint not null default 0,
    keys_done bigint not null default 0,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (chain, revision, direction, task)
);
comment on table pgopt.progress is 'how far the batches of a revision came; written in the transaction of each batch';
comment on column pgopt.progress.key is 'the columns by which they go';

create table pgopt.undo (
    chain text not null,
    revision text not null,
    operation text not null,
    subject text not null,
    was jsonb not null,
    at timestamptz not null default now(),
    primary key (chain, revision, operation, subject)
);
comment on table pgopt.undo is 'what was there before a change whose own words do not tell it';
