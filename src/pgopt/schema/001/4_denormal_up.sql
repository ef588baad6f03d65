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

create function pgopt.deferred(target regclass, denormal text) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select d.tag from pgopt.denormalized d
where d.said ->> 'deferred' is not null and (deferred.target is null or d.target = deferred.target)
  and (denormal is null or d.tag = denormal) and to_regclass('pgopt.denormal_' || d.tag || '_queue') is not null
order by d.id
$$;
comment on function pgopt.deferred is 'what is kept of whose changes wait to be folded in: all, of one table, or one of them';

create procedure pgopt.fold(target regclass default null, denormal text default null, most integer default 1000)
language plpgsql
as $$
declare
    it pg_catalog.text;
    last pg_catalog.int8;
    until pg_catalog.int8;
begin
    for it in select d.* from pgopt.deferred(fold.target, fold.denormal) d loop
        -- what is noted after this is for the next time, or this might never end
        execute pg_catalog.format('select pgopt.%I()', pg_catalog.concat('denormal_', it, '_begin')) into until;
        commit;
        last := 0;
        while last is not null loop
            execute pg_catalog.format('select pgopt.%I($1, $2, $3)', pg_catalog.concat('denormal_', it, '_fold'))
                into last using last, until, fold.most;
            commit;
        end loop;
    end loop;
end
$$;
comment on procedure pgopt.fold is 'folds in the changes that wait for columns kept with deferred=, so many in a transaction; any number may do so at once';

create function pgopt.rows_gone(part regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it text;
begin
    for it in
        select d.tag from pgopt.denormalized d
        where d.source = pg_partition_root(part) and d.tag in (select t.* from pgopt.deferred(null, null) t)
    loop
        execute format('insert into pgopt.%I (k1) values (null)', 'denormal_' || it || '_queue');
    end loop;
end
$$;
comment on function pgopt.rows_gone is 'notes that a partition is just about to be detached, whose rows are to count no more where that is folded in later';

create function pgopt.waiting(denormal text) returns table (changes bigint, oldest_at timestamptz)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    return query execute format('select count(*), min(at) from pgopt.%I', 'denormal_' || denormal || '_queue');
end
$$;
comment on function pgopt.waiting is 'how many changes wait to be folded in, and since when';

create view pgopt.deferred_columns as
select n.nspname as schema_name, c.relname as table_name, d.columns, w.changes, w.oldest_at, clock_timestamp() - w.oldest_at as age
from pgopt.denormalized d
join pg_class c on c.oid = d.target
join pg_namespace n on n.oid = c.relnamespace
cross join lateral pgopt.waiting(d.tag) w
where d.tag in (select pgopt.deferred(null, null));
comment on view pgopt.deferred_columns is 'columns whose changes are folded in by a job: how many wait, and how old the oldest is';

revoke all on all functions in schema pgopt from public;
revoke all on all procedures in schema pgopt from public;
