create table pgopt.retention_run (
    id bigint generated always as identity primary key,
    schema_name text not null,
    table_name text not null,
    definition jsonb not null,
    clock timestamptz not null,
    cutoff text,
    stage text not null check (stage in ('partitions', 'rows')),
    leaf oid not null default 0,
    by_index boolean,
    place text,
    retries integer not null default 0,
    rows bigint not null default 0,
    batches integer not null default 0,
    partitions integer not null default 0,
    notes text[] not null default '{}',
    error text,
    pid integer not null default pg_backend_pid(),
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
create index retention_run_of_table on pgopt.retention_run (schema_name, table_name, started_at);
comment on table pgopt.retention_run is 'each time that a policy was applied; what it counts is written in the transaction in which it was done';
comment on column pgopt.retention_run.place is 'how far it came: in the order of the column where an index gives it, else in that of the pages; or the last partition';

create function pgopt.moving(target regclass, deletion text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select format('gone as (%s returning %s)', deletion, coalesce(c.columns, '1'))
    || case when target is null then ''
            else format(', arrived as (insert into %s (%s) overriding system value select %2$s from gone returning 1)', target, c.columns) end
from (
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns
    from pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
) c
$$;
comment on function pgopt.moving is 'the parts of a query that delete rows, and put them into another table, if any';

create function pgopt.all_arrived(target regclass, moved bigint, arrived bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if arrived <> moved then
        raise exception '% has taken % of % rows: look at its triggers', target, arrived, moved;
    end if;
end
$$;
comment on function pgopt.all_arrived is 'refuses a target that keeps rows out';

create function pgopt.within(root regclass, leaf regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select format('tableoid = %s', leaf::oid) || case when leaf <> root then ' and ' || pg_get_partition_constraintdef(leaf) else '' end
$$;
comment on function pgopt.within is 'the condition that holds for the rows of one partition alone';

create function pgopt.move_rows(
    root regclass, leaf regclass, target regclass, query text, path text, out picked bigint, out moved bigint, out place text
)
language plpgsql
set search_path = pg_catalog, pg_temp set row_security = off set synchronize_seqscans = off
as $$
declare
    arrived bigint;
begin
    perform set_config('search_path', path, true);
    -- through the root, for the sake of the triggers of statements that it has
    execute format(
        'with picked as materialized (%s for update skip locked), %s'
        ' select (select count(*) from picked), (select count(*) from gone), (select count(*) from %s),'
        -- read alike whatever the settings are, which triggers are to find as they were
        ' (select to_json(max(edge)) #>> ''{}'' from picked)',
        query,
        pgopt.moving(target, format(
            'delete from %s where %s and ctid = any (array(select place from picked))', root, pgopt.within(root, leaf)
        )),
        case when target is null then 'gone' else 'arrived' end
    ) into picked, moved, arrived, place;
    perform pgopt.all_arrived(target, moved, arrived);
end
$$;
comment on function pgopt.move_rows is 'deletes the rows that a query finds, or moves them to another table, in one statement; those that others hold are left';

create function pgopt.move_range(root regclass, leaf regclass, target regclass, condition text, path text) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp set row_security = off set synchronize_seqscans = off
as $$
declare
    deletion constant text := format(
        'delete from %s as %I where %s and %s', root, (select c.relname from pg_class c where c.oid = root), pgopt.within(root, leaf), condition
    );
    patience constant text := current_setting('lock_timeout');
    moved bigint;
    arrived bigint;
begin
    perform set_config('search_path', path, true), set_config('lock_timeout', '10ms', true);
    if target is null then
        execute deletion;
        get diagnostics moved = row_count;
    else
        execute format('with %s select (select count(*) from gone), (select count(*) from arrived)', pgopt.moving(target, deletion))
        into moved, arrived;
        perform pgopt.all_arrived(target, moved, arrived);
    end if;
    perform set_config('lock_timeout', patience, true);
    return moved;
exception when lock_not_available then
    return null;
end
$$;
comment on function pgopt.move_range is 'deletes the rows of a condition, or moves them to another table, in half the time of pgopt.move_rows; nothing where others hold some';

create function pgopt.retention_end(run bigint, error text default null, note text default null) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
update pgopt.retention_run r
set finished_at = clock_timestamp(), seen_at = clock_timestamp(), error = retention_end.error,
    notes = r.notes || array_remove(array[retention_end.note], null)
where r.id = retention_end.run and r.finished_at is null
$$;
comment on function pgopt.retention_end is 'writes down that a run is over';

create function pgopt.retention_begin(relation regclass, clock timestamptz) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    policy pgopt.retention_policy;
    faults text;
    run bigint;
begin
    select p.* into policy from pgopt.retention_policy p where pgopt.retained(p) = relation;
    if not found then
        raise exception '% has no retention policy: make one with op.create_retention_policy', relation;
    elsif pgopt.retention_paused(policy) is not null then
        return null;
    end if;
    update pgopt.retention_run r set finished_at = r.seen_at, error = 'interrupted'
    where (r.schema_name, r.table_name) = (policy.schema_name, policy.table_name) and r.finished_at is null
      and not exists (select from pg_stat_activity a where a.pid = r.pid);
    select string_agg(f, '; ') into faults from pgopt.retention_faults(policy) f;
    insert into pgopt.retention_run (schema_name, table_name, definition, clock, stage)
    values (policy.schema_name, policy.table_name, pgopt.retention_definition(policy), clock,
            case policy.action when 'drop_partition' then 'partitions' else 'rows' end)
    returning id into run;
    if faults is not null then
        perform pgopt.retention_end(run, faults);
    else
        update pgopt.retention_run r
        set cutoff = pgopt.retention_cutoff(policy, retention_begin.clock), notes = array(select pgopt.retention_notes(policy))
        where r.id = run;
    end if;
    return run;
end
$$;
comment on function pgopt.retention_begin is 'begins to apply a policy at a time of the clock, and gives the number of the run; nothing where it is paused';

create function pgopt.retention_partition(run pgopt.retention_run, policy pgopt.retention_policy) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    part record;
    refused text;
begin
    select p.*, p.partition::text as name into part
    from pgopt.partitioned t, pgopt.partitions_of(pgopt.retained(policy)) p
    where t.relation = pgopt.retained(policy) and p.high <= pgopt.place(t.by, run.cutoff)
      and p.high > coalesce(run.place, '-infinity')::numeric
    order by p.high limit 1;
    if not found then
        update pgopt.retention_run r set stage = 'rows', place = null where r.id = run.id;
        return policy.partly = 'keep';
    end if;
    refused := pgopt.retire(pgopt.retained(policy), part.partition, 'drop', null);
    update pgopt.retention_run r
    set place = part.high, partitions = r.partitions + (refused is null)::integer,
        notes = r.notes || array_remove(array[part.name || ' stays: ' || refused], null)
    where r.id = run.id;
    return false;
end
$$;
comment on function pgopt.retention_partition is 'drops the next partition that a policy does not keep, and tells whether nothing is left to do';

create function pgopt.edge_of_rows(policy pgopt.retention_policy, leaf regclass, condition text, most integer) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp set row_security = off
as $$
declare
    edge text;
begin
    perform set_config('search_path', policy.path, true);
    execute format('select to_json(edge) #>> ''{}'' from (%s offset %s) a', pgopt.rows_to_move(policy, leaf, condition, true, 1), most) into edge;
    return edge;
end
$$;
comment on function pgopt.edge_of_rows is 'what stands in the column of a policy in the row that comes after so many';

create function pgopt.retention_rows(run pgopt.retention_run, policy pgopt.retention_policy, most integer, out taken bigint, out finished boolean)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    root constant regclass := pgopt.retained(policy);
    target constant regclass := pgopt.archive_of(policy);
    part regclass;
    found_index boolean := run.by_index;
    condition text;
    first_page bigint;
    end_page bigint;
    edge text;
    over boolean;
    done record;
begin
    taken := 0;
    select l into part from pgopt.retention_leaves(root) l where l::oid >= run.leaf order by l::oid limit 1;
    finished := part is null;
    if finished then
        return;
    end if;
    if part::oid <> run.leaf or found_index is null then
        run.place := null;
        found_index := pgopt.served_by_index(policy, part);
    end if;
    condition := pgopt.retention_condition(policy, run.cutoff);
    if not found_index then
        first_page := coalesce(run.place, '0')::bigint;
        select first_page + greatest(1, most / greatest(1, coalesce(c.reltuples / nullif(c.relpages, 0), 50)))::bigint into end_page
        from pg_class c where c.oid = part;
        over := end_page * current_setting('block_size')::integer >= pg_relation_size(part);
        condition := condition
            || format(e' and %1$I.ctid >= \'(%2$s,0)\' and %1$I.ctid < \'(%3$s,0)\'', policy.table_name, first_page, end_page);
    else
        if run.place is not null then
            condition := condition || format(' and %I.%I >= %L', policy.table_name, policy.column_name, run.place);
        end if;
        edge := pgopt.edge_of_rows(policy, part, condition, most);
        over := edge is null;
    end if;
    begin
        -- by a hash it would be looked for in all partitions
        if root = part or pgopt.within(root, part) !~ 'satisfies_hash_partition' then
            taken := pgopt.move_range(
                root, part, target, condition || case when edge is null then '' else format(' and %I.%I < %L', policy.table_name, policy.column_name, edge) end,
                policy.path
            );
        end if;
        if taken is null or taken = 0 and edge is not null then
            select m.* into done from pgopt.move_rows(
                root, part, target, pgopt.rows_to_move(policy, part, condition, found_index, case when found_index then most end), policy.path
            ) m;
            if found_index and done.picked = most and done.moved = 0 and done.place = run.place then
                raise exception 'rows of % are still there after their DELETE: look at its triggers', part;
            end if;
            taken := done.moved;
            edge := done.place;
            over := case when found_index then done.picked < most else over end;
        end if;
    exception when foreign_key_violation then
        if policy.cascade then
            raise;
        end if;
        -- somebody has referred to a row since this statement began, and will be seen by the next
        raise exception using errcode = 'serialization_failure', message = sqlerrm;
    end;
    if over then
        update pgopt.retention_run r set leaf = (part::oid::bigint + 1)::oid, by_index = null, place = null where r.id = run.id;
    else
        update pgopt.retention_run r set leaf = part, by_index = found_index, place = coalesce(end_page::text, edge) where r.id = run.id;
    end if;
end
$$;
comment on function pgopt.retention_rows is 'deletes or archives some rows that a policy does not keep';

create function pgopt.retention_batch(run bigint, most integer, out taken bigint, out finished boolean)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it pgopt.retention_run;
    policy pgopt.retention_policy;
    stopped text;
begin
    taken := 0;
    select * into it from pgopt.retention_run r where r.id = run for update;
    finished := it.finished_at is not null;
    if finished then
        return;
    end if;
    select p.* into policy from pgopt.retention_policy p where (p.schema_name, p.table_name) = (it.schema_name, it.table_name);
    stopped := case
        when not found then 'the policy is gone'
        when pgopt.retention_definition(policy) <> it.definition then 'the policy was changed'
        else pgopt.retention_paused(policy)
    end;
    if stopped is not null then
        perform pgopt.retention_end(run, null, 'stopped before its end: ' || stopped);
        finished := true;
        return;
    end if;
    if it.stage = 'partitions' then
        finished := pgopt.retention_partition(it, policy);
    else
        select r.taken, r.finished into taken, finished from pgopt.retention_rows(it, policy, least(most, policy.batch)) r;
    end if;
    update pgopt.retention_run r
    set rows = r.rows + taken, batches = r.batches + (taken > 0)::integer, retries = 0, seen_at = clock_timestamp() where r.id = run;
    if finished then
        perform pgopt.retention_end(run);
    end if;
end
$$;
comment on function pgopt.retention_batch is 'does the next piece of a run, and tells how many rows that were and whether it was the last';

create function pgopt.retention_attempt(run bigint, inout size integer, out finished boolean)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    most constant integer := size;
    began constant timestamptz := clock_timestamp();
    tries integer;
begin
    select b.finished into finished from pgopt.retention_batch(run, most) b;
    -- a batch is to take a fifth of a second
    size := greatest(1, least(50000, most * least(2, greatest(0.25, 0.2 / greatest(0.001, extract(epoch from clock_timestamp() - began))))));
exception
    when lock_not_available or deadlock_detected or serialization_failure then
        size := greatest(1, most / 4);
        update pgopt.retention_run r set retries = r.retries + 1 where r.id = run returning r.retries into tries;
        finished := tries > 20;
        if finished then
            perform pgopt.retention_end(run, sqlerrm || ': the rest is left for the next time');
        else
            perform pg_sleep(0.1);
        end if;
    when others then
        perform pgopt.retention_end(run, sqlerrm);
        finished := true;
end
$$;
comment on function pgopt.retention_attempt is 'does the next piece of a run; what stands against it is written down, and another size is given';

create function pgopt.retention_error(run bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select format('%I.%I: %s', r.schema_name, r.table_name, r.error) from pgopt.retention_run r where r.id = run and r.error is not null
$$;
comment on function pgopt.retention_error is 'what has ended a run before its time';

create function pgopt.lost_policies() returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select string_agg(format('%I.%I: there is no such table: delete its policy from pgopt.retention_policy, or write its new name there',
                         p.schema_name, p.table_name), '; ' order by p.schema_name, p.table_name)
from pgopt.retention_policy p where pgopt.retained(p) is null and p.enabled
$$;
comment on function pgopt.lost_policies is 'says which policies are of tables that are gone, or have another name';

create function pgopt.retention_order(relation regclass default null) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
with recursive
policy as (select pgopt.retained(p) as of, p.schema_name, p.table_name from pgopt.retention_policy p),
-- each table that others refer to comes after them; where they refer to each other, in any order
after (of, depth) as (
    select of, 0 from policy where of is not null
    union
    select coalesce(pg_partition_root(c.confrelid), c.confrelid)::oid, depth + 1
    from after a join pg_constraint c on c.conrelid = a.of and c.contype = 'f' and c.confrelid <> c.conrelid
    where depth < 50
)
select of from policy where of = coalesce(relation, of)
order by (select max(depth) from after a where a.of = policy.of), schema_name, table_name
$$;
comment on function pgopt.retention_order is 'the tables that have policies, those that refer to others before them';

create function pgopt.late_standbys(inout marks jsonb, out late boolean)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    moment constant timestamptz := clock_timestamp();
    longest constant interval := coalesce(nullif(current_setting('pgopt.replication_lag', true), ''), '10 s');
    replayed pg_lsn;
    lag interval;
begin
    select min(r.replay_lsn), max(r.replay_lag) into replayed, lag from pg_stat_replication r;
    -- how long ago the server had written what is not replayed yet: replay_lag stands still when replay does
    select coalesce(jsonb_agg(m order by n), '[]') into marks
    from jsonb_array_elements(marks) with ordinality a (m, n) where (m ->> 'position')::pg_lsn > replayed;
    late := longest > '0' and marks <> '[]' and greatest(moment - (marks -> 0 ->> 'at')::timestamptz, lag) > longest;
    if replayed is not null and coalesce((marks -> -1 ->> 'at')::timestamptz < moment - least(longest / 2, interval '1 s'), true) then
        marks := marks || jsonb_build_object('at', moment, 'position', pg_current_wal_lsn());
    end if;
end
$$;
comment on function pgopt.late_standbys is 'whether a standby is further behind than the setting pgopt.replication_lag allows, by what was noted of the log before';

create procedure pgopt.apply_retention(relation pg_catalog.regclass default null, clock pg_catalog.timestamptz default pg_catalog.now())
language plpgsql
as $$
declare
    it pg_catalog.regclass;
    run pg_catalog.int8;
    size pg_catalog.int4;
    finished pg_catalog.bool;
    failed pg_catalog.text;
    marks pg_catalog.jsonb := '[]';
    late pg_catalog.bool;
begin
    -- it commits, so it has no settings of its own: all in it is qualified, or has no name
    if pg_catalog.pg_is_in_recovery() then
        return;
    end if;
    foreach it in array case when relation is null then array(select o from pgopt.retention_order() o) else array[relation] end loop
        run := pgopt.retention_begin(it, clock);
        commit;
        size := 1000;
        finished := run is null;
        while not finished loop
            perform pg_catalog.set_config('lock_timeout', '500ms', true);
            select a.size, a.finished into size, finished from pgopt.retention_attempt(run, size) a;
            commit;
            loop
                select l.marks, l.late into marks, late from pgopt.late_standbys(marks) l;
                exit when finished or not late;
                perform pg_catalog.pg_sleep(1);
                commit;
            end loop;
        end loop;
        failed := pg_catalog.concat_ws('; ', failed, pgopt.retention_error(run));
    end loop;
    if relation is null then
        failed := pg_catalog.concat_ws('; ', failed, pgopt.lost_policies());
    end if;
    if pg_catalog.length(failed) operator(pg_catalog.>) 0 then
        raise exception '%', failed;
    end if;
end
$$;
comment on procedure pgopt.apply_retention is 'applies the policy of a table, or all, in batches that are committed each for itself, at a time of the clock; at the end an error tells of those that could not be applied';

create function pgopt.preview_retention(relation regclass default null, clock timestamptz default now())
returns table (
    "table" text, action text, cutoff text, rows bigint, first text, last text, bytes bigint, partitions text[],
    paused text, faults text[], notes text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set row_security = off
as $$
#variable_conflict use_column
declare
    it regclass;
    policy pgopt.retention_policy;
begin
    for it in select o from pgopt.retention_order(relation) o loop
        select p.* into policy from pgopt.retention_policy p where pgopt.retained(p) = it;
        "table" := it;
        action := policy.action;
        paused := pgopt.retention_paused(policy);
        faults := array(select pgopt.retention_faults(policy));
        select null, 0, null, null, null, '{}', '{}' into cutoff, rows, first, last, bytes, partitions, notes;
        if faults = '{}' then
            cutoff := pgopt.retention_cutoff(policy, preview_retention.clock);
            notes := array(select pgopt.retention_notes(policy));
            partitions := array(
                select p.partition::text from pgopt.partitioned t, pgopt.partitions_of(it) p
                where policy.action = 'drop_partition' and t.relation = it and p.high <= pgopt.place(t.by, cutoff) order by p.high
            );
            select s.rows, s.first, s.last, s.bytes into rows, first, last, bytes from pgopt.rows_expired(policy, cutoff, partitions) s;
        end if;
        return next;
    end loop;
end
$$;
comment on function pgopt.preview_retention is 'what applying policies would do; rows are counted, bytes are estimated by the share of them';

create function pgopt.rows_expired(policy pgopt.retention_policy, cutoff text, partitions text[])
returns table (rows bigint, first text, last text, bytes bigint)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    counts text;
begin
    select string_agg(format(
        'select count(*), min(%1$I.%2$I), max(%1$I.%2$I), round(pg_total_relation_size(%3$L) * (count(*) / nullif(greatest(%4$s, count(*)), 0)::numeric))'
        ' from only %5$I.%6$I as %1$I where %7$s',
        policy.table_name, policy.column_name, l::oid, case when c.reltuples < 0 then 'null' else c.reltuples::bigint::text end,
        n.nspname, c.relname,
        case when whole then 'true' else pgopt.retention_condition(policy, cutoff) end
    ), ' union all ') into counts
    from pgopt.retention_leaves(pgopt.retained(policy)) l
    join pg_class c on c.oid = l join pg_namespace n on n.oid = c.relnamespace
    cross join lateral (select exists (select from unnest(partitions) p, pg_partition_tree(p::regclass) t where t.relid = l)) w (whole)
    where whole or policy.action <> 'drop_partition' or policy.partly = 'delete';
    perform set_config('search_path', policy.path, true);
    return query execute 'select coalesce(sum(s.a), 0)::bigint, min(s.b)::text, max(s.c)::text, sum(s.d)::bigint from ('
        || coalesce(counts, 'select 0, null::date, null::date, 0 limit 0') || ') s (a, b, c, d)';
end
$$;
comment on function pgopt.rows_expired is 'how many rows a policy does not keep, from when to when, and about how many bytes they have';

create function pgopt.written_path() returns text
language sql stable
as $$
select pg_catalog.concat_ws(', ', 'pg_catalog', pg_catalog.string_agg(pg_catalog.quote_ident(s), ', '), 'pg_temp')
from pg_catalog.unnest(pg_catalog.current_schemas(false)) s
$$;
comment on function pgopt.written_path is 'the search path with which a predicate that is written now is to be read';

create function pgopt.restore_rows(
    relation regclass, archive regclass, leaf regclass, predicate text, path text, most integer, out picked bigint, out moved bigint
)
language sql set search_path = pg_catalog, pg_temp
as $$
select m.picked, m.moved from pg_class a, pg_class l join pg_namespace n on n.oid = l.relnamespace, pgopt.move_rows(
    archive, leaf, relation,
    format(e'select %1$I.ctid as place, null as edge from only %2$I.%3$I as %1$I where (%4$s\n) limit %5$s',
           a.relname, n.nspname, l.relname, predicate, coalesce(most::text, 'all')),
    path
) m
where a.oid = archive and l.oid = leaf
$$;
comment on function pgopt.restore_rows is 'moves some rows of one part of an archive back to where they came from';

revoke all on all routines in schema pgopt from public;
