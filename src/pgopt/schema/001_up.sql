create schema pgopt;
comment on schema pgopt is 'what pgopt remembers: half-done revisions, how far batches came, what undoes a change';
revoke all on schema pgopt from public;

create table pgopt.version (
    version integer primary key,
    before integer not null,
    installed_at timestamptz not null default now()
);
comment on table pgopt.version is 'the versions of this schema, each with the one that was there before it';

create table pgopt.run (
    chain text not null,
    revision text not null,
    direction text not null check (direction in ('upgrade', 'downgrade')),
    operation text not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    primary key (chain, revision)
);
comment on table pgopt.run is 'revisions that have begun and are not stamped yet';

create table pgopt.progress (
    chain text not null,
    revision text not null,
    direction text not null,
    task text not null,
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

create table pgopt.partitioned (
    relation regclass primary key,
    by jsonb not null,
    premake integer not null,
    was jsonb not null,
    plain regclass,
    attached boolean not null default false,
    at timestamptz not null default now()
);
comment on table pgopt.partitioned is 'partitioned tables: by what, how far ahead, and what they were before';
comment on column pgopt.partitioned.plain is 'the table that it was: kept beside it until that is final, or its first partition';

create table pgopt.copy (
    source regclass primary key,
    target regclass not null,
    log regclass not null,
    key text[] not null,
    ready boolean not null default false,
    started_at timestamptz not null default now()
);
comment on table pgopt.copy is 'tables that are copied to another, or kept equal to it, by the log of their changes';

create function pgopt.moment_of(by jsonb, value text) returns timestamp
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
select case by ->> 'type'
    when 'date' then value::timestamp
    when 'timestamp without time zone' then value::timestamp
    when 'timestamp with time zone' then value::timestamptz at time zone (by ->> 'timezone')
    when 'uuid' then
        to_timestamp(('x' || left(replace(value, '-', ''), 12))::bit(48)::bigint / 1000.0) at time zone (by ->> 'timezone')
    else to_timestamp(value::numeric / (by ->> 'per_second')::numeric) at time zone (by ->> 'timezone')
end
$$;
comment on function pgopt.moment_of is 'the local time that a value of the partition key stands for';

create function pgopt.key_at(by jsonb, moment timestamp) returns text
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
select case by ->> 'type'
    when 'date' then moment::date::text
    when 'timestamp without time zone' then moment::text
    when 'timestamp with time zone' then (moment at time zone (by ->> 'timezone'))::text
    when 'uuid' then
        rpad(lpad(to_hex((extract(epoch from moment at time zone (by ->> 'timezone')) * 1000)::bigint), 12, '0'), 32, '0')::uuid::text
    else round(extract(epoch from moment at time zone (by ->> 'timezone')) * (by ->> 'per_second')::numeric)::bigint::text
end
$$;
comment on function pgopt.key_at is 'the least value of the partition key at a local time';

create function pgopt.periods(by jsonb, first text, last text)
returns table (suffix text, lower text, upper text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    shift interval := coalesce(by ->> 'shift', '0')::interval;
    step interval;
    start timestamp;
    size numeric;
    number numeric;
begin
    if by ->> 'kind' = 'int' then
        size := (by ->> 'step')::numeric;
        number := floor(first::numeric / size) * size;
        while number <= last::numeric loop
            return query select replace(trim_scale(number)::text, '-', 'm'), trim_scale(number)::text, trim_scale(number + size)::text;
            number := number + size;
        end loop;
        return;
    end if;
    step := (by ->> 'step')::interval;
    start := date_trunc(by ->> 'unit', pgopt.moment_of(by, first) + shift) - shift;
    while start <= pgopt.moment_of(by, last) loop
        return query select to_char(start, by ->> 'suffix'), pgopt.key_at(by, start), pgopt.key_at(by, start + step);
        start := start + step;
    end loop;
end
$$;
comment on function pgopt.periods is 'the partitions that hold the keys from the first to the last, with their bounds';

create function pgopt.later(by jsonb, value text, periods integer) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if by ->> 'kind' = 'int' then
        return trim_scale(value::numeric + periods * (by ->> 'step')::numeric);
    end if;
    return pgopt.key_at(by, pgopt.moment_of(by, value) + periods * (by ->> 'step')::interval);
end
$$;
comment on function pgopt.later is 'the partition key so many periods after a value';

create function pgopt.precedes(by jsonb, one text, other text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if by ->> 'kind' = 'int' then
        return one::numeric <= other::numeric;
    end if;
    return pgopt.moment_of(by, one) <= pgopt.moment_of(by, other);
end
$$;
comment on function pgopt.precedes is 'whether a value of the partition key comes before another, or is the same';

create function pgopt.today(by jsonb, last text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if by ->> 'kind' = 'int' then
        return coalesce(last, '0');
    end if;
    return pgopt.key_at(by, now() at time zone (by ->> 'timezone'));
end
$$;
comment on function pgopt.today is 'where the partition key has come to: to now, or to the greatest number';

create function pgopt.partition_name(name text, suffix text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
    whole text := name || '_p' || suffix;
    base text := name;
begin
    if octet_length(whole) > 63 then
        loop
            base := left(base, -1);
            whole := base || '_' || left(md5(name), 8) || '_p' || suffix;
            exit when octet_length(whole) <= 63 or base = '';
        end loop;
    end if;
    return whole;
end
$$;
comment on function pgopt.partition_name is 'the name of a partition, at most 63 bytes';

revoke all on all functions in schema pgopt from public;
