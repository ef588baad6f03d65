create table pgopt.snapshot (
    id bigint generated always as identity primary key,
    taken_at timestamptz not null default clock_timestamp(),
    seconds double precision,
    resets text[] not null default '{}',
    database_bytes bigint not null,
    wal_bytes numeric,
    commits double precision,
    rollbacks double precision,
    blocks_hit double precision,
    blocks_read double precision,
    rows_written double precision,
    temp_bytes double precision,
    deadlocks double precision,
    connections integer not null,
    active integer not null,
    idle_in_transaction integer not null,
    waiting integer not null,
    longest_transaction double precision not null,
    xid_age bigint not null,
    live_rows bigint not null,
    dead_rows bigint not null,
    table_bloat_bytes numeric,
    index_bloat_bytes numeric,
    unused_index_bytes numeric,
    statements boolean not null default false,
    notes text[] not null default '{}'
);
comment on table pgopt.snapshot is 'how the database was from time to time, and what it did since the snapshot before';
comment on column pgopt.snapshot.seconds is 'since the snapshot before; null where there is none, or where another server has taken over, so that nothing is known of the work in between';
comment on column pgopt.snapshot.resets is 'which counters were reset since the snapshot before: the work is then at least what is said';
comment on column pgopt.snapshot.statements is 'whether pg_stat_statements tells of the time since the snapshot before';
create index snapshot_taken_at on pgopt.snapshot (taken_at);

create table pgopt.snapshot_table (
    snapshot bigint not null references pgopt.snapshot on delete cascade,
    schema_name text not null,
    table_name text not null,
    total_bytes bigint not null,
    growth bigint not null,
    rows bigint not null,
    dead_rows bigint not null,
    sequential_scans double precision,
    index_scans double precision,
    inserted double precision,
    updated double precision,
    deleted double precision,
    stale_seconds double precision,
    primary key (snapshot, schema_name, table_name)
);
comment on table pgopt.snapshot_table is 'how tables and materialized views were, and what was done in them since the snapshot before; a partitioned table as a whole; those that have changed alone';
comment on column pgopt.snapshot_table.stale_seconds is 'of a materialized view: how old its rows were';

create table pgopt.snapshot_statement (
    snapshot bigint not null references pgopt.snapshot on delete cascade,
    queryid bigint,
    calls double precision not null,
    milliseconds double precision not null,
    rows double precision not null,
    blocks_hit double precision not null,
    blocks_read double precision not null,
    temp_blocks double precision not null,
    unique nulls not distinct (snapshot, queryid)
);
comment on table pgopt.snapshot_statement is 'what statements did since the snapshot before: the 200 that took longest, and all others in one row without a queryid';
create index snapshot_statement_queryid on pgopt.snapshot_statement (queryid);

create table pgopt.statement (
    queryid bigint primary key,
    query text not null
);
comment on table pgopt.statement is 'the words of the statements in pgopt.snapshot_statement; a password is left out';

create table pgopt.last_snapshot (
    one boolean primary key default true check (one),
    taken_at timestamptz not null,
    server text not null,
    wal_bytes numeric not null,
    statistics_reset timestamptz,
    statements_reset timestamptz,
    counts double precision[] not null
);
comment on table pgopt.last_snapshot is 'what the last snapshot read of the counters of the server';
comment on column pgopt.last_snapshot.server is 'which server, database and timeline the counters are of';

create table pgopt.last_table (
    relation oid primary key,
    schema_name text not null,
    table_name text not null,
    bytes bigint not null,
    rows bigint not null,
    dead_rows bigint not null,
    counts double precision[] not null
);
comment on table pgopt.last_table is 'what the last snapshot read of tables, and of partitions under the name of the whole';

create table pgopt.last_statement (
    role oid not null,
    queryid bigint,
    since timestamptz,
    counts double precision[] not null,
    unique nulls not distinct (role, queryid)
);
comment on table pgopt.last_statement is 'what the last snapshot read of pg_stat_statements';

create function pgopt.done_since(before double precision[], now double precision[]) returns double precision[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
select case
    when before is null or exists (select from unnest(before, now) u (was, is_now) where is_now < was) then now
    else array(select is_now - was from unnest(before, now) with ordinality u (was, is_now, place) order by place)
end
$$;
comment on function pgopt.done_since is 'by how much counters have gone up; where one has gone down they were reset, and began at nothing';

create function pgopt.measure_tables() returns setof pgopt.last_table
language sql set search_path = pg_catalog, pg_temp
as $$
with locked as materialized (
    select l.relation from pg_locks l
    where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.database = (select d.oid from pg_database d where d.datname = current_database())
)
select c.oid, n.nspname, r.relname,
       -- the size of what is locked would have to be waited for
       case when c.oid in (select relation from locked)
            then coalesce((select bytes from pgopt.last_table where relation = c.oid), c.relpages * current_setting('block_size')::bigint)
            else coalesce(pg_total_relation_size(c.oid), 0) end,
       greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)::bigint, pg_stat_get_dead_tuples(c.oid),
       array[s.seq_scan, coalesce(s.idx_scan, 0), s.n_tup_ins, s.n_tup_upd, s.n_tup_del]::double precision[]
from pg_class c
join pg_class r on r.oid = coalesce(case when c.relispartition then pg_partition_root(c.oid) end, c.oid)
join pg_namespace n on n.oid = r.relnamespace
join pg_stat_all_tables s on s.relid = c.oid
where c.relkind in ('r', 'm') and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'pgopt')
$$;
comment on function pgopt.measure_tables is 'how large tables are and what was done in them, by the counters of the server';

create function pgopt.statements_reset() returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    place text := (
        select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
        where e.extname = 'pg_stat_statements' and string_to_array(e.extversion, '.')::int[] >= array[1, 9]
          and current_setting('pg_stat_statements.max', true) is not null
    );
    since timestamptz;
begin
    if place is not null then
        execute format('select stats_reset from %I.pg_stat_statements_info', place) into since;
    end if;
    return since;
end
$$;
comment on function pgopt.statements_reset is 'since when pg_stat_statements counts; nothing where it is not there';

create function pgopt.measure_statements() returns table (role oid, queryid bigint, since timestamptz, counts double precision[], query text)
language plpgsql set search_path = pg_catalog, pg_temp set standard_conforming_strings = on
as $$
declare
    extension record;
begin
    select n.nspname, string_to_array(e.extversion, '.')::int[] >= array[1, 11] as knows_since into extension
    from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_stat_statements';
    -- those that one may not see have no queryid
    return query execute format(
        'select userid, queryid, %s,'
        ' array[sum(calls), sum(total_exec_time), sum(rows), sum(shared_blks_hit), sum(shared_blks_read), sum(temp_blks_written)]::double precision[],'
        ' regexp_replace(coalesce(left(min(query), 10000), ''its words are lost''), ''(\mpassword|\mconnection)(\s+e?''''.*)'', ''\1 ...'', ''is'')'
        ' from %I.pg_stat_statements'
        ' where toplevel and dbid = (select oid from pg_database where datname = current_database()) group by userid, queryid',
        case when extension.knows_since then 'min(stats_since)' else 'null::timestamptz' end, extension.nspname
    );
end
$$;
comment on function pgopt.measure_statements is 'what was done by statements, by the counters of pg_stat_statements';

create function pgopt.snapshot_tables(this bigint, known boolean, out resets boolean, out live_rows bigint, out dead_rows bigint)
language sql set search_path = pg_catalog, pg_temp
as $$
with now as materialized (
    select m.*, l.counts as before, case when known then pgopt.done_since(l.counts, m.counts) end as done
    from pgopt.measure_tables() m left join pgopt.last_table l using (relation)
), here as (
    select n.schema_name, n.table_name, sum(n.bytes)::bigint as bytes, sum(n.rows)::bigint as rows, sum(n.dead_rows)::bigint as dead_rows,
           array[sum(n.done[1]), sum(n.done[2]), sum(n.done[3]), sum(n.done[4]), sum(n.done[5])] as done
    from now n group by 1, 2
), there as (
    select l.schema_name, l.table_name, sum(l.bytes)::bigint as bytes from pgopt.last_table l group by 1, 2
), view as (
    select s.nspname as schema_name, c.relname as table_name, extract(epoch from clock_timestamp() - m.fresh_at)::double precision as stale
    from pgopt.materialized m join pg_class c on c.oid = m.view join pg_namespace s on s.oid = c.relnamespace
), written as (
    insert into pgopt.snapshot_table
    select this, schema_name, table_name, coalesce(h.bytes, 0),
           case when exists (select from pgopt.last_table) then coalesce(h.bytes, 0) - coalesce(t.bytes, 0) else 0 end,
           coalesce(h.rows, 0), coalesce(h.dead_rows, 0), h.done[1], h.done[2], h.done[3], h.done[4], h.done[5], v.stale
    from here h full join there t using (schema_name, table_name) left join view v using (schema_name, table_name)
    where not known or v.stale is not null or h.bytes is distinct from t.bytes or 0 < any (h.done)
), gone as (
    delete from pgopt.last_table l where not exists (select from now n where n.relation = l.relation)
), kept as (
    insert into pgopt.last_table as l
    select n.relation, n.schema_name, n.table_name, n.bytes, n.rows, n.dead_rows, n.counts from now n
    on conflict (relation) do update
    set schema_name = excluded.schema_name, table_name = excluded.table_name, bytes = excluded.bytes, rows = excluded.rows,
        dead_rows = excluded.dead_rows, counts = excluded.counts
    where l is distinct from excluded
)
select coalesce(bool_or(exists (select from unnest(n.before, n.counts) u (was, is_now) where is_now < was)), false),
       coalesce(sum(n.rows), 0)::bigint, coalesce(sum(n.dead_rows), 0)::bigint
from now n
$$;
comment on function pgopt.snapshot_tables is 'writes down what was done in tables since the snapshot before, and reads them for the next; tells whether counters were reset';

create function pgopt.snapshot_statements(this bigint, known boolean, reset boolean) returns boolean
language sql set search_path = pg_catalog, pg_temp
as $$
with now as materialized (
    select m.*, l.role is not null and l.since is distinct from m.since as anew,
           pgopt.done_since(case when not reset and l.since is not distinct from m.since then l.counts end, m.counts) as done, l.counts as before
    from pgopt.measure_statements() m
    left join pgopt.last_statement l on l.role = m.role and l.queryid is not distinct from m.queryid
), done as (
    select n.queryid, array[sum(n.done[1]), sum(n.done[2]), sum(n.done[3]), sum(n.done[4]), sum(n.done[5]), sum(n.done[6])] as done,
           rank() over (order by n.queryid is null, sum(n.done[2]) desc, n.queryid) as place
    from now n where known and n.done[1] > 0 group by 1
), written as (
    insert into pgopt.snapshot_statement
    select this, case when d.place <= 200 then d.queryid end, sum(d.done[1]), sum(d.done[2]), sum(d.done[3]), sum(d.done[4]), sum(d.done[5]), sum(d.done[6])
    from done d group by 2
), told as (
    insert into pgopt.statement
    select n.queryid, min(n.query) from now n join done d using (queryid) where d.place <= 200 group by 1
    on conflict do nothing
), forgotten as (
    delete from pgopt.last_statement l
    where not exists (select from now n where n.role = l.role and n.queryid is not distinct from l.queryid)
), kept as (
    insert into pgopt.last_statement as l
    select n.role, n.queryid, n.since, n.counts from now n
    on conflict (role, queryid) do update set since = excluded.since, counts = excluded.counts
    where l is distinct from excluded
)
select reset or coalesce(bool_or(n.anew or exists (select from unnest(n.before, n.counts) u (was, is_now) where is_now < was)), false) from now n
$$;
comment on function pgopt.snapshot_statements is 'writes down what statements did since the snapshot before, and reads them for the next; tells whether some were reset or evicted';

create function pgopt.sum_of(view text, condition text, out bytes numeric, out trouble text)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    said constant text := coalesce(current_setting('pgopt.measured_size', true), '');
begin
    -- nothing is measured, so that one snapshot can be compared with the next
    perform set_config('pgopt.measured_size', '0', true);
    if to_regclass('pgopt.' || view) is not null then
        execute format('select coalesce(sum(%s), 0) from pgopt.%I where %s', case view when 'unused_indexes' then 'bytes' else 'bloat_bytes' end, view, condition)
        into bytes;
    end if;
    perform set_config('pgopt.measured_size', said, true);
exception when lock_not_available or insufficient_privilege then
    trouble := view || ' could not be looked at: ' || sqlerrm;
end
$$;
comment on function pgopt.sum_of is 'how many bytes a view of op.install_monitoring() shows in all; nothing where it is not there';

create function pgopt.take_snapshot() returns bigint
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    at constant timestamptz := clock_timestamp();
    it pgopt.snapshot;
    before pgopt.last_snapshot;
    now pgopt.last_snapshot;
    done double precision[];
    known boolean;
    table_resets boolean;
    statement_resets boolean := false;
    sums record;
begin
    if pg_is_in_recovery() then
        return null;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('pgopt.snapshot', 0));
    select * into before from pgopt.last_snapshot;
    select true, at, concat_ws(' ', (select c.system_identifier from pg_control_system() c), d.datid, left(pg_walfile_name(pg_current_wal_lsn()), 8)),
           pg_current_wal_insert_lsn() - '0/0', d.stats_reset, pgopt.statements_reset(),
           array[d.xact_commit, d.xact_rollback, d.blks_hit, d.blks_read, d.tup_inserted + d.tup_updated + d.tup_deleted, d.temp_bytes, d.deadlocks]
    into now from pg_stat_database d where d.datname = current_database();
    -- counters are of one server and one database: one that was promoted, restored or copied has others
    known := before.server is not distinct from now.server;
    done := case when known then pgopt.done_since(before.counts, now.counts) end;

    insert into pgopt.snapshot as s (
        taken_at, seconds, database_bytes, wal_bytes, commits, rollbacks, blocks_hit, blocks_read, rows_written, temp_bytes, deadlocks,
        connections, active, idle_in_transaction, waiting, longest_transaction, xid_age, live_rows, dead_rows
    )
    select at, case when known then extract(epoch from at - before.taken_at) end, pg_database_size(d.oid),
           case when known then now.wal_bytes - before.wal_bytes end, done[1], done[2], done[3], done[4], done[5], done[6], done[7],
           a.*, age(d.datfrozenxid), 0, 0
    from pg_database d, (
        select count(*), count(*) filter (where c.state = 'active'), count(*) filter (where c.state like 'idle in transaction%'),
               count(*) filter (where c.wait_event_type = 'Lock'), coalesce(extract(epoch from at - min(c.xact_start)), 0)
        from pg_stat_activity c where c.datname = current_database() and c.backend_type = 'client backend' and c.pid <> pg_backend_pid()
    ) a
    where d.datname = current_database()
    returning * into it;

    select * into table_resets, it.live_rows, it.dead_rows from pgopt.snapshot_tables(it.id, known);
    it.statements := known and before.statements_reset is not null and now.statements_reset is not null;
    if now.statements_reset is not null then
        statement_resets := pgopt.snapshot_statements(it.id, it.statements, now.statements_reset is distinct from before.statements_reset);
    else
        delete from pgopt.last_statement;
    end if;
    delete from pgopt.statement t where not exists (select from pgopt.snapshot_statement s where s.queryid = t.queryid);

    for sums in
        select v.name, s.* from (values ('table_bloat', 'unreliable is null'), ('index_bloat', 'unreliable is null'), ('unused_indexes', 'true')) v (name, condition),
        pgopt.sum_of(v.name, v.condition) s
    loop
        it.notes := it.notes || array_remove(array[sums.trouble], null);
        case sums.name
            when 'table_bloat' then it.table_bloat_bytes := sums.bytes;
            when 'index_bloat' then it.index_bloat_bytes := sums.bytes;
            else it.unused_index_bytes := sums.bytes;
        end case;
    end loop;

    update pgopt.snapshot s
    set live_rows = it.live_rows, dead_rows = it.dead_rows, statements = it.statements, notes = it.notes,
        table_bloat_bytes = it.table_bloat_bytes, index_bloat_bytes = it.index_bloat_bytes, unused_index_bytes = it.unused_index_bytes,
        resets = array_remove(array[
            case when before.server <> now.server then 'another server' end,
            case when known and (before.statistics_reset is distinct from now.statistics_reset or table_resets or done = now.counts) then 'statistics' end,
            case when it.statements and statement_resets then 'pg_stat_statements' end
        ], null)
    where s.id = it.id;
    insert into pgopt.last_snapshot select (now).*
    on conflict (one) do update
    set taken_at = excluded.taken_at, server = excluded.server, wal_bytes = excluded.wal_bytes, statistics_reset = excluded.statistics_reset,
        statements_reset = excluded.statements_reset, counts = excluded.counts;
    return it.id;
end
$$;
comment on function pgopt.take_snapshot is 'writes down how the database is, and what it did since the snapshot before; gives the number of the snapshot';

create function pgopt.snapshots_between(first bigint, last bigint) returns setof pgopt.snapshot
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    missing bigint := (select n from unnest(array[first, last]) n where not exists (select from pgopt.snapshot s where s.id = n) limit 1);
begin
    if first is null or last is null or missing is not null then
        raise exception 'there is no snapshot %: look at pgopt.snapshot', coalesce(missing::text, 'null') using errcode = 'no_data_found';
    end if;
    return query select * from pgopt.snapshot s where s.id > first and s.id <= last;
end
$$;
comment on function pgopt.snapshots_between is 'the snapshots after one up to another';

create function pgopt.work_between(first bigint, last bigint)
returns table (
    since timestamptz, until timestamptz, seconds double precision, resets text[], growth bigint, wal_bytes numeric, commits double precision,
    rollbacks double precision, hit_percent double precision, rows_written double precision, temp_bytes double precision, deadlocks double precision
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
select (select s.taken_at from pgopt.snapshot s where s.id = first), (select s.taken_at from pgopt.snapshot s where s.id = last), sum(b.seconds),
       array(select distinct r from pgopt.snapshots_between(first, last) s, unnest(s.resets) r order by r),
       (select s.database_bytes from pgopt.snapshot s where s.id = last) - (select s.database_bytes from pgopt.snapshot s where s.id = first),
       sum(b.wal_bytes), sum(b.commits), sum(b.rollbacks), 100 * sum(b.blocks_hit) / nullif(sum(b.blocks_hit + b.blocks_read), 0),
       sum(b.rows_written), sum(b.temp_bytes), sum(b.deadlocks)
from pgopt.snapshots_between(first, last) b
$$;
comment on function pgopt.work_between is 'what the database did between two snapshots; at least that, where counters were reset';

create function pgopt.tables_between(first bigint, last bigint)
returns table (
    schema_name text, table_name text, total_bytes bigint, growth bigint, sequential_scans double precision, index_scans double precision,
    inserted double precision, updated double precision, deleted double precision
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
select t.schema_name, t.table_name, (array_agg(t.total_bytes order by t.snapshot desc))[1], sum(t.growth)::bigint,
       sum(t.sequential_scans), sum(t.index_scans), sum(t.inserted), sum(t.updated), sum(t.deleted)
from pgopt.snapshots_between(first, last) b join pgopt.snapshot_table t on t.snapshot = b.id
group by 1, 2
order by 4 desc, 1, 2
$$;
comment on function pgopt.tables_between is 'how tables have grown between two snapshots, and what was done in them; those alone in which something was';

create function pgopt.statements_between(first bigint, last bigint)
returns table (
    queryid bigint, calls double precision, milliseconds double precision, mean_milliseconds double precision, share_percent double precision,
    rows double precision, blocks_hit double precision, blocks_read double precision, temp_blocks double precision, query text
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
select s.queryid, sum(s.calls), sum(s.milliseconds), sum(s.milliseconds) / nullif(sum(s.calls), 0),
       100 * sum(s.milliseconds) / nullif(sum(sum(s.milliseconds)) over (), 0),
       sum(s.rows), sum(s.blocks_hit), sum(s.blocks_read), sum(s.temp_blocks),
       case when s.queryid is null then 'all others' else (select t.query from pgopt.statement t where t.queryid = s.queryid) end
from pgopt.snapshots_between(first, last) b join pgopt.snapshot_statement s on s.snapshot = b.id
group by s.queryid
order by 3 desc
$$;
comment on function pgopt.statements_between is 'what statements did between two snapshots; the 200 that took longest in each, and all others together';

revoke all on all functions in schema pgopt from public;
-- here and not by the monitoring, which comes and goes without them
grant usage on schema pgopt to pg_monitor;
grant select on pgopt.snapshot, pgopt.snapshot_table, pgopt.snapshot_statement, pgopt.statement to pg_monitor;
grant execute on function pgopt.snapshots_between(bigint, bigint), pgopt.work_between(bigint, bigint), pgopt.tables_between(bigint, bigint),
    pgopt.statements_between(bigint, bigint) to pg_monitor;
