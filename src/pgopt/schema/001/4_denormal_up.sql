create table pgopt.denormalized (
    id integer generated always as identity primary key,
    tag text not null unique,
    target regclass not null,
    source regclass not null,
    columns text[] not null,
    said jsonb not null,
    filled boolean not null default false,
    at timestamptz not null default now()
);
comment on table pgopt.denormalized is 'columns that triggers keep: of which table, from which, and how';
comment on column pgopt.denormalized.tag is 'by which its view, functions and triggers are named';
comment on column pgopt.denormalized.filled is 'whether the rows that were there have their values';

create function pgopt.held(more integer) returns boolean
language sql set search_path = pg_catalog, pg_temp
as $$
-- so many locks would fill the server's table of locks
select set_config('pgopt.held', (coalesce(nullif(current_setting('pgopt.held', true), '')::integer, 0) + more)::text, true)::integer
       <= 1000
$$;
comment on function pgopt.held is 'counts the keys that a transaction holds, and tells whether it may hold them one by one';

create function pgopt.hold_source(denormal integer, keys bigint[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    whole bigint := hashtextextended('pgopt.denormalized', denormal);
begin
    if pgopt.held(cardinality(keys)) then
        perform pg_advisory_xact_lock_shared(whole);
        perform pg_advisory_xact_lock(k) from (select distinct k from unnest(keys) u (k) order by k) s;
    else
        perform pg_advisory_xact_lock(whole + 1);
    end if;
end
$$;
comment on function pgopt.hold_source is 'keeps target rows of some keys from coming until the end of the transaction';

create function pgopt.hold_target(denormal integer, key bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    whole bigint := hashtextextended('pgopt.denormalized', denormal);
begin
    perform pg_advisory_xact_lock_shared(whole + 1);
    if pgopt.held(1) then
        perform pg_advisory_xact_lock_shared(key);
    else
        perform pg_advisory_xact_lock(whole);
    end if;
end
$$;
comment on function pgopt.hold_target is 'keeps source rows of a key from coming until the end of the transaction';

revoke all on all functions in schema pgopt from public;
