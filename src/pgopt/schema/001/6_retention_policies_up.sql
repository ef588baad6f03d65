create table pgopt.retention_policy (
    schema_name text not null,
    table_name text not null,
    column_name text not null,
    keep text not null,
    predicate text,
    action text not null check (action in ('delete', 'archive', 'drop_partition')),
    archive_schema text,
    archive_table text,
    timezone text not null,
    batch integer not null check (batch > 0),
    cascade boolean not null,
    partly text not null check (partly in ('keep', 'delete')),
    path text not null,
    enabled boolean not null default true,
    hold text,
    hold_until timestamptz,
    at timestamptz not null default now(),
    primary key (schema_name, table_name),
    check ((action = 'archive') = (archive_table is not null)),
    check ((archive_schema is null) = (archive_table is null))
);
comment on table pgopt.retention_policy is 'how long the rows of tables are kept, and what happens to them then; tables by their names, so that a policy stays when another table takes that place';
comment on column pgopt.retention_policy.path is 'the search path with which the predicate was written';
comment on column pgopt.retention_policy.enabled is 'for operators: a policy that is not enabled is not applied';
comment on column pgopt.retention_policy.hold is 'for operators: why the policy is not applied for now';
comment on column pgopt.retention_policy.hold_until is 'for operators: when the hold ends by itself';

create function pgopt.retained(policy pgopt.retention_policy) returns regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
select to_regclass(format('%I.%I', policy.schema_name, policy.table_name))
$$;
comment on function pgopt.retained is 'the table of a policy, where it is there';

create function pgopt.archive_of(policy pgopt.retention_policy) returns regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
select to_regclass(format('%I.%I', policy.archive_schema, policy.archive_table)) where policy.archive_table is not null
$$;
comment on function pgopt.archive_of is 'the table to which a policy archives, where it is there';

create function pgopt.retention_paused(policy pgopt.retention_policy) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select case
    when not policy.enabled then 'not enabled'
    when policy.hold is not null and coalesce(policy.hold_until > now(), true)
    then 'held' || coalesce(' until ' || policy.hold_until, '') || ': ' || policy.hold
end
$$;
comment on function pgopt.retention_paused is 'why a policy is not applied now, or nothing';

create function pgopt.retention_definition(policy pgopt.retention_policy) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
select to_jsonb(policy) - '{enabled,hold,hold_until,at}'::text[]
$$;
comment on function pgopt.retention_definition is 'what a policy says, without what operators set beside it';

create function pgopt.retention_cutoff(policy pgopt.retention_policy, clock timestamptz) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
declare
    moment timestamptz;
begin
    -- months, years and days are those of the calendar there; hours are hours
    perform set_config('timezone', policy.timezone, true);
    moment := clock - policy.keep::interval;
    perform set_config('timezone', 'UTC', true);
    return (
        select case a.atttypid
            when 'date'::regtype then (moment at time zone policy.timezone)::date::text
            when 'timestamp'::regtype then (moment at time zone policy.timezone)::text
            else moment::text
        end
        from pg_attribute a where a.attrelid = pgopt.retained(policy) and a.attname = policy.column_name
    );
end
$$;
comment on function pgopt.retention_cutoff is 'the value of the column before which a policy keeps nothing, in UTC where it has a time zone';

create function pgopt.incoming_keys(referent regclass)
returns table (referrer regclass, name text, on_delete "char", columns text[], keys text[], operators text[])
language sql stable set search_path = pg_catalog, pg_temp
as $$
select c.conrelid::regclass, c.conname, c.confdeltype,
       array(select a.attname from unnest(c.conkey) with ordinality k (n, place)
             join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.n order by place),
       array(select a.attname from unnest(c.confkey) with ordinality k (n, place)
             join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.n order by place),
       -- between a key and what refers to it; a bare one may be that of another type
       array(select format('operator(%I.%s)', n.nspname, o.oprname) from unnest(c.conpfeqop) with ordinality k (operator, place)
             join pg_operator o on o.oid = k.operator join pg_namespace n on n.oid = o.oprnamespace order by place)
from pg_constraint c
where c.contype = 'f' and c.conparentid = 0
  and (c.confrelid = referent or c.confrelid in (select relid from pg_partition_ancestors(referent)))
order by 1, 2
$$;
comment on function pgopt.incoming_keys is 'the foreign keys that refer to a table';

create function pgopt.retention_condition(policy pgopt.retention_policy, cutoff text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select format('%I.%I < %L', policy.table_name, policy.column_name, cutoff)
    || case when policy.predicate is null then '' else format(e' and ((%s\n))', policy.predicate) end
    -- what others still refer to stays until their own policies have taken them away
    || coalesce((
        select string_agg(format(' and not exists (select from %I.%I pgopt_child where %s)', n.nspname, r.relname, (
            select string_agg(format('%I.%I %s pgopt_child.%I', policy.table_name, k.there, k.operator, k.here), ' and ')
            from unnest(f.columns, f.keys, f.operators) k (here, there, operator)
        )), '')
        from pgopt.incoming_keys(pgopt.retained(policy)) f
        join pg_class r on r.oid = f.referrer join pg_namespace n on n.oid = r.relnamespace
        where f.on_delete in ('a', 'r')
    ), '')
$$;
comment on function pgopt.retention_condition is 'the condition on the rows that a policy does not keep';

create function pgopt.differences_of_columns(one regclass, other regclass) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
with pair as (
    select coalesce(a.attname, b.attname) as name, a.attnum as here, b.attnum as there,
           format_type(a.atttypid, a.atttypmod) as is_here, format_type(b.atttypid, b.atttypmod) as is_there
    from (select * from pg_attribute where attrelid = one and attnum > 0 and not attisdropped) a
    full join (select * from pg_attribute where attrelid = other and attnum > 0 and not attisdropped) b on a.attname = b.attname
)
select case
    when there is null then format('%s has a column %I that %s has not: add it there', one, name, other)
    when here is null then format('%s has a column %I that %s has not: drop it there, or add it here', other, name, one)
    else format('column %I is %s in %s and %s in %s: make them the same', name, is_here, one, is_there, other)
end
from pair where is_here is distinct from is_there order by name
$$;
comment on function pgopt.differences_of_columns is 'why rows cannot go from one table to another and back';

create function pgopt.predicate_fault(policy pgopt.retention_policy) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('search_path', policy.path, true);
    execute format(e'explain select from %I.%I where (%s\n)', policy.schema_name, policy.table_name, policy.predicate);
    return null;
exception when others then
    return format('where=%L: %s', policy.predicate, sqlerrm);
end
$$;
comment on function pgopt.predicate_fault is 'what is wrong with the predicate of a policy';

create function pgopt.keep_fault(policy pgopt.retention_policy) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform now() at time zone policy.timezone;
    if now() - policy.keep::interval < now() then
        return null;
    end if;
    return format('keep=%L is no interval above zero: say ''30 days''', policy.keep);
exception when others then
    return format('keep=%L, timezone=%L: %s', policy.keep, policy.timezone, sqlerrm);
end
$$;
comment on function pgopt.keep_fault is 'what is wrong with how long a policy keeps rows';

create function pgopt.key_faults(policy pgopt.retention_policy) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select case
    when f.on_delete in ('a', 'r')
    then format('%s refers to it by %I: make a policy for %s, applied first, or drop the foreign key', f.referrer, f.name, f.referrer)
    else format('deleting its rows would, by %I, %s rows of %s, too: say cascade=True if that is meant', f.name,
                case f.on_delete when 'c' then 'delete' else 'change' end, f.referrer)
end
from pgopt.incoming_keys(pgopt.retained(policy)) f
where case
    when f.on_delete in ('a', 'r')
    then f.referrer <> pgopt.retained(policy)
         and not exists (select from pgopt.retention_policy p where pgopt.retained(p) = f.referrer)
    else not policy.cascade
end
$$;
comment on function pgopt.key_faults is 'the foreign keys that stand against a policy';

create function pgopt.archive_faults(policy pgopt.retention_policy) returns setof text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    archive regclass := pgopt.archive_of(policy);
begin
    if policy.action <> 'archive' then
        return;
    elsif archive is null then
        return next format('there is no table %I.%I to archive to: make it with op.create_archive_table', policy.archive_schema, policy.archive_table);
    elsif archive = pgopt.retained(policy) then
        return next 'it cannot be its own archive';
    elsif (select relkind not in ('r', 'p') from pg_class where oid = archive) then
        return next format('%s is not a table', archive);
    else
        return query select pgopt.differences_of_columns(pgopt.retained(policy), archive);
    end if;
end
$$;
comment on function pgopt.archive_faults is 'what stands against the archive of a policy';

create function pgopt.partition_faults(policy pgopt.retention_policy) returns setof text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    rule pgopt.partitioned;
begin
    if policy.action <> 'drop_partition' then
        return;
    end if;
    select * into rule from pgopt.partitioned p where p.relation = pgopt.retained(policy);
    if not found then
        return next 'pgopt knows no partitions of it: partition it with op.partition_table first, or say action=''delete''';
    elsif rule."by" ->> 'kind' <> 'time' or rule."by" ->> 'column' <> policy.column_name then
        return next format('it is not partitioned by the time in %I: say action=''delete''', policy.column_name);
    elsif rule.keep is not null then
        return next format('op.manage_partitions keeps its partitions for %s: op.unmanage_partitions first, or no policy', rule.keep);
    end if;
    if policy.predicate is not null then
        return next 'whole partitions go, so where= cannot be heeded: say action=''delete''';
    end if;
end
$$;
comment on function pgopt.partition_faults is 'what stands against dropping the partitions of a policy';

create function pgopt.retention_faults(policy pgopt.retention_policy) returns setof text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it regclass := pgopt.retained(policy);
    found_type oid;
begin
    if it is null then
        return next format('there is no table %I.%I', policy.schema_name, policy.table_name);
        return;
    end if;
    if exists (select from pg_partition_tree(it) t join pg_class c on c.oid = t.relid where c.relkind = 'f') then
        return next 'it has partitions on other servers, where nothing can be done exactly once';
    elsif (select relkind = 'r' from pg_class where oid = it) and exists (select from pg_inherits where inhparent = it) then
        return next 'other tables inherit from it, with columns that may differ: make a policy for each of them';
    end if;
    select atttypid into found_type from pg_attribute
    where attrelid = it and attname = policy.column_name and attnum > 0 and not attisdropped;
    if not found then
        return next format('it has no column %I', policy.column_name);
    elsif found_type not in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) then
        return next format('column %I is %s: choose one of type date, timestamp or timestamptz', policy.column_name, format_type(found_type, null));
    end if;
    return query
        select f from (
            select pgopt.keep_fault(policy)
            union all
            select format('rule %I of %s does something else instead of a DELETE: drop it first', rulename, ev_class::regclass)
            from pg_rewrite where ev_type = '4' and is_instead and ev_class in (select it union select relid from pg_partition_tree(it))
            union all select pgopt.predicate_fault(policy) where policy.predicate is not null
            union all select pgopt.archive_faults(policy)
            union all select pgopt.partition_faults(policy)
            union all select pgopt.key_faults(policy)
        ) a (f)
        where f is not null;
end
$$;
comment on function pgopt.retention_faults is 'all that stands against a policy';

create function pgopt.check_retention(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    said text;
begin
    select string_agg(f, '; ') into said
    from pgopt.retention_policy p, pgopt.retention_faults(p) f where pgopt.retained(p) = relation;
    if said is not null then
        raise exception '%: %', relation, said;
    end if;
end
$$;
comment on function pgopt.check_retention is 'refuses a policy that cannot be applied';

create function pgopt.retention_leaves(relation regclass) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
select relid from pg_partition_tree(relation) where isleaf
union
select oid::regclass from pg_class where oid = relation and relkind = 'r'
order by 1
$$;
comment on function pgopt.retention_leaves is 'the tables that hold the rows of a table';

create function pgopt.rows_to_move(policy pgopt.retention_policy, leaf regclass, condition text, by_index boolean, most integer)
returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
-- under its own name, by which a predicate may call it
select format('select %1$I.ctid as place, %1$I.%2$I as edge from only %3$I.%4$I as %1$I where %5$s %6$s limit %7$s',
              policy.table_name, case when by_index then policy.column_name else 'ctid' end, n.nspname, c.relname, condition,
              case when by_index then format('order by %I.%I', policy.table_name, policy.column_name) end, coalesce(most::text, 'all'))
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = leaf
$$;
comment on function pgopt.rows_to_move is 'the query for the next rows that a policy does not keep';

create function pgopt.served_by_index(policy pgopt.retention_policy, leaf regclass) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_sort = off set enable_bitmapscan = off
as $$
declare
    query text := pgopt.rows_to_move(policy, leaf, pgopt.retention_condition(policy, pgopt.retention_cutoff(policy, now())), true, 1);
    plan text;
begin
    perform set_config('search_path', policy.path, true);
    execute 'explain (format json) ' || query into plan;
    -- it sorts where nothing gives it the rows in their order, although it should not
    return plan not like '%"Node Type": "Sort"%' and plan not like '%"Node Type": "Incremental Sort"%';
end
$$;
comment on function pgopt.served_by_index is 'whether an index gives the rows that a policy does not keep in their order';

create function pgopt.missing_index(relation regclass, columns text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select format('no index of %s begins with %s: op.create_index_concurrently(%s, %s, %s, schema=%s)',
              relation, array_to_string(columns, ', '), to_json('ix_' || c.relname || '_' || array_to_string(columns, '_')),
              to_json(c.relname), to_json(columns), to_json(n.nspname))
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation
$$;
comment on function pgopt.missing_index is 'a sentence that names an index that is missing, and the operation that makes it';

create function pgopt.begins_index(relation regclass, columns text[]) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
select exists (
    select from pg_index i
    where i.indrelid = relation and i.indisvalid and i.indpred is null
      and (select array_agg(a.attname::text order by a.attname)
           from unnest((i.indkey::int2[])[0:cardinality(columns) - 1]) k (n)
           join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n)
          = (select array_agg(c order by c) from unnest(columns) c)
)
$$;
comment on function pgopt.begins_index is 'whether an index of a table begins with some columns, in whatever order';

create function pgopt.retention_notes(policy pgopt.retention_policy) returns setof text
language sql set search_path = pg_catalog, pg_temp
as $$
(select pgopt.missing_index(pgopt.retained(policy), array[policy.column_name]) || ', or all of it is read each time'
 from pgopt.retention_leaves(pgopt.retained(policy)) l
 where (policy.action <> 'drop_partition' or policy.partly = 'delete') and not pgopt.served_by_index(policy, l)
 fetch first row only)
union all
select pgopt.missing_index(f.referrer, f.columns) || ', or all of it is read for each row that is deleted'
from pgopt.incoming_keys(pgopt.retained(policy)) f
where not pgopt.begins_index(f.referrer, f.columns)
$$;
comment on function pgopt.retention_notes is 'what somebody should know of a policy that can be applied';
