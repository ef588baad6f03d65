create table pgopt.reindex (
    id bigint generated always as identity primary key,
    schema_name text not null,
    index_name text not null,
    index oid not null,
    bytes_before bigint not null,
    bloat_bytes bigint not null,
    is_measured boolean not null,
    job text,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    bytes_after bigint,
    outcome text check (outcome in ('rebuilt', 'failed', 'not bloated')),
    error text
);
comment on table pgopt.reindex is 'which indexes were rebuilt because they were bloated, and how large they were before and after';
comment on column pgopt.reindex.index is 'the index as it was before: rebuilding it makes another';
comment on column pgopt.reindex.is_measured is 'whether pgstattuple has said how bloated it was, and not an estimate alone';
create index reindex_open on pgopt.reindex (schema_name, index_name) where finished_at is null;
create index reindex_started on pgopt.reindex (schema_name, index_name, started_at);

create function pgopt.measured_bloat(index regclass) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    place text := (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pgstattuple');
    bloat bigint;
begin
    if place is not null then
        execute format(
            'select (index_size * (1 - leaf_pages / greatest(1, leaf_pages + empty_pages + deleted_pages)::float8'
            '        * least(1, coalesce(nullif(avg_leaf_density, ''NaN''), 100) / $2)))::bigint from %I.pgstatindex($1)', place
        ) into bloat using index, (
            select coalesce((select option_value::float8 from pg_options_to_table(c.reloptions) where option_name = 'fillfactor'), 90)
            from pg_class c where c.oid = index
        );
    end if;
    return bloat;
exception when insufficient_privilege or lock_not_available then
    return null;
end
$$;
comment on function pgopt.measured_bloat is 'how many bytes of a B-tree index are not needed, by pgstattuple, which reads all of it; nothing where that is not there';

create function pgopt.bloated_indexes(above bigint)
returns table (schema_name text, index_name text, index oid, bytes bigint, bloat_bytes bigint)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass('pgopt.index_bloat') is null then
        raise exception 'bloat is estimated by the views of pgopt: add op.install_monitoring() to an earlier revision'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return query execute
        'select b.schema_name, b.index_name, c.oid, b.bytes, case when b.unreliable is null then b.bloat_bytes end from pgopt.index_bloat() b'
        ' join pg_namespace n on n.nspname = b.schema_name join pg_class c on c.relnamespace = n.oid and c.relname = b.index_name'
        ' join pg_index i on i.indexrelid = c.oid'
        -- what REINDEX CONCURRENTLY refuses
        ' where not i.indisexclusion and c.relpersistence <> ''t'''
        -- of what the statistics do not tell, all may be bloat
        ' and case when b.unreliable is null then b.bloat_bytes else b.bytes end >= $1'
        ' order by case when b.unreliable is null then b.bloat_bytes else b.bytes end desc, 1, 2' using above;
end
$$;
comment on function pgopt.bloated_indexes is 'the indexes that may be larger than they need be by so many bytes; bloat_bytes is nothing where no estimate can be relied on';

create function pgopt.begin_reindex(index oid, bloat bigint, measured boolean, job text default null) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
insert into pgopt.reindex (schema_name, index_name, index, bytes_before, bloat_bytes, is_measured, job)
select n.nspname, c.relname, c.oid, c.relpages * current_setting('block_size')::bigint, bloat, measured, begin_reindex.job
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = begin_reindex.index
$$;
comment on function pgopt.begin_reindex is 'writes down that an index is being rebuilt';

create function pgopt.settle_reindexes(interrupted boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it record;
begin
    for it in
        select r.id, r.job, c.oid <> r.index as rebuilt, c.relpages * current_setting('block_size')::bigint as bytes, o.outcome, o.error
        from pgopt.reindex r
        left join (pg_class c join pg_namespace n on n.oid = c.relnamespace) on (n.nspname, c.relname) = (r.schema_name, r.index_name)
        left join lateral (
            select j.outcome, j.error from pgopt.job_run j where j.job = r.job and j.started_at >= r.started_at and j.finished_at is not null
            order by j.id desc limit 1
        ) o on true
        where r.finished_at is null for update of r
    loop
        -- what a job has not begun, or not ended yet, goes on, and so may an operation, unless it is known that none is at work
        if it.job is null and (it.rebuilt or settle_reindexes.interrupted) or it.outcome is not null
           or it.job is not null and not exists (select from pgopt.job j where j.name = it.job) then
            update pgopt.reindex r
            set finished_at = clock_timestamp(), bytes_after = case when it.rebuilt then it.bytes end,
                outcome = case when it.rebuilt then 'rebuilt' else 'failed' end,
                error = case when not coalesce(it.rebuilt, false) then coalesce(it.error, 'it was interrupted') end
            where r.id = it.id;
            delete from pgopt.job j where j.name = it.job;
        end if;
    end loop;
end
$$;
comment on function pgopt.settle_reindexes is 'writes down what was gained where an index was rebuilt, or that it was not';

create function pgopt.run_bare(job text, command text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    -- once: it is taken away when it has ended, long before it would be due again
    insert into pgopt.job (name, command, every, retries) values (job, command, '3650 days', 0);
    update pgopt.job j set next_due = clock_timestamp() where j.name = run_bare.job;
end
$$;
comment on function pgopt.run_bare is 'has a command run once, bare at the top level, by whatever runs jobs';

create function pgopt.clear_reindex() returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it record;
begin
    delete from pgopt.job j where j.name = 'clear a failed reindex' and j.last_started is not null
        and not exists (select from pgopt.job_run r where r.job = j.name and r.finished_at is null);
    if exists (select from pgopt.job j where j.name = 'clear a failed reindex') then
        return true;
    end if;
    select n.nspname, c.relname into it
    from pgopt.reindex r
    join (pg_class o join pg_namespace n on n.oid = o.relnamespace join pg_index oi on oi.indexrelid = o.oid)
         on (n.nspname, o.relname) = (r.schema_name, r.index_name)
    join pg_index i on i.indrelid = oi.indrelid and not i.indisvalid
    join pg_class c on c.oid = i.indexrelid and c.relname ~ '_cc(new|old)[0-9]*$'
    where r.outcome = 'failed' and r.job is not null
      and not exists (select from pg_locks l where l.relation = c.oid and l.mode = 'ShareUpdateExclusiveLock')
      and not exists (select from pg_stat_progress_create_index p where p.relid = i.indrelid)
    order by r.id limit 1;
    if not found then
        return false;
    end if;
    perform pgopt.run_bare('clear a failed reindex', format('drop index concurrently %I.%I', it.nspname, it.relname));
    return true;
end
$$;
comment on function pgopt.clear_reindex is 'has what a failed REINDEX CONCURRENTLY left behind dropped, and tells whether something is';

create function pgopt.reindex_bloated(above text default '100 MB') returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it record;
    measured bigint;
begin
    if pg_is_in_recovery() then
        return null;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('pgopt.reindex', 0));
    perform pgopt.settle_reindexes();
    if exists (select from pgopt.reindex r where r.finished_at is null and r.job is not null) or pgopt.clear_reindex() then
        return null;
    end if;
    for it in
        select b.*, format('reindex %I.%I', b.schema_name, b.index_name) as job, format('reindex index concurrently %I.%I', b.schema_name, b.index_name) as command
        from pgopt.bloated_indexes(pg_size_bytes(above)) b
        -- an estimate that stays too high would have it rebuilt again and again
        where not exists (
            select from pgopt.reindex r where (r.schema_name, r.index_name) = (b.schema_name, b.index_name)
              and r.started_at > clock_timestamp() - case r.outcome when 'failed' then interval '1 hour' else interval '7 days' end
        )
    loop
        measured := pgopt.measured_bloat(it.index);
        if coalesce(measured, it.bloat_bytes) >= pg_size_bytes(above) then
            perform pgopt.begin_reindex(it.index, coalesce(measured, it.bloat_bytes), measured is not null, it.job);
            perform pgopt.run_bare(it.job, it.command);
            return it.command;
        end if;
        continue when measured is null;
        insert into pgopt.reindex (schema_name, index_name, index, bytes_before, bloat_bytes, is_measured, finished_at, outcome)
        values (it.schema_name, it.index_name, it.index, it.bytes, measured, true, clock_timestamp(), 'not bloated');
    end loop;
    return null;
end
$$;
comment on function pgopt.reindex_bloated is 'has the index rebuilt that has most to give back, by a job of its own, unless the last one is still at it; to be run by a job again and again';

revoke all on all functions in schema pgopt from public;
grant execute on function pgopt.measured_bloat(regclass) to pg_monitor;
grant select on pgopt.reindex to pg_monitor;
