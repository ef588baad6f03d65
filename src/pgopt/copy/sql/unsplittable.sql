-- What stands against a partition's place being taken by others, each with the way out. To be read with an empty search path.
with parent as (select c.*, c.oid::regclass::text as called from pg_class c where c.oid = {table}),
part as (select c.*, c.oid::regclass::text as called from pg_class c where c.oid = {part})
select said from (
    select 1 as place, format('%s is no plain table: only those that hold the rows themselves are split and merged', part.called) as said
    from part where part.relkind <> 'r'
    union all
    select 2, format('%s is a partition itself: only partitions of the topmost table are split or merged', parent.called)
    from parent where exists (select from pg_inherits where inhrelid = parent.oid)
    union all
    select 3, format('changes of %s are noted already, for its way back or another copy: op.finalize_partitioning(%L), or finish that copy',
                     parent.called, parent.relname)
    from parent where exists (select from pg_trigger t join pg_proc f on f.oid = t.tgfoid
                              where t.tgrelid = parent.oid and t.tgname = 'pgopt_insert' and f.proname <> {note})
    union all
    select 4, format('foreign key %I of %s refers to %s %s', o.conname, o.conrelid::regclass, o.confrelid::regclass,
                     case when o.confrelid = {part} then 'itself, and would lose its rows: drop it'
                          when c.relkind = 'p' then 'and is of a partitioned table, on which it cannot be made for new rows alone: drop it before, and create it after'
                          else 'and is of another role: its owner must split, or drop it before and create it after' end)
    from pg_constraint o join pg_class c on c.oid = o.conrelid
    where o.contype = 'f' and o.conparentid = 0 and o.conrelid <> {table}
      and (o.confrelid = {part}
           or (o.confrelid = {table} and not exists (select from pg_partition_tree({table}::oid::regclass) where relid = o.conrelid)
               and (c.relkind = 'p' or not pg_has_role(c.relowner, 'USAGE'))))
    union all
    -- what an interrupted run has left on all of them is the table's
    select 5, format('foreign key %I is of %s alone, and would not be kept: drop it, or make it one of %s', o.conname, part.called, parent.called)
    from part, parent, pg_constraint o
    where o.contype = 'f' and o.conrelid = part.oid and o.conparentid = 0
      and exists (select from pg_partition_tree({table}::oid::regclass) t where t.isleaf and not exists (
          select from pg_constraint e where e.conrelid = t.relid and e.conname = o.conname and e.contype = 'f' and e.conparentid = 0))
    union all
    select 5, format('foreign key %I of %s is NOT ENFORCED, and cannot be made for new rows alone: drop it before, and create it after', o.conname, o.conrelid::regclass)
    from pg_constraint o where o.contype = 'f' and o.conparentid = 0 and {table} in (o.conrelid, o.confrelid)
      and not coalesce((to_jsonb(o) ->> 'conenforced')::bool, true)
    union all
    select 6, format('the exclusion constraint %I would be built while everybody waits: drop it', o.conname)
    from pg_constraint o where o.contype = 'x' and o.conrelid = {table}
    union all
    select 7, format('constraint %I is of %s alone, and would not be kept: drop it, or make it one of %s', o.conname, part.called, parent.called)
    from part, parent, pg_constraint o
    where o.conrelid = part.oid and o.contype in ('c', 'u', 'p', 'x') and o.coninhcount = 0 and o.conname !~ '_pgopt_bound$|_pgopt_beside$|^pgopt_'
    union all
    select 8, format('the unique index %s is of %s alone, and would not be kept: drop it', i.indexrelid::regclass, part.called)
    from part, pg_index i
    where i.indrelid = part.oid and i.indisunique and not exists (select from pg_inherits where inhrelid = i.indexrelid)
      and not exists (select from pg_constraint o where o.conindid = i.indexrelid)
    union all
    select 9, format('trigger %I is of %s alone: drop it, or make it one of %s', t.tgname, part.called, parent.called)
    from part, parent, pg_trigger t
    where t.tgrelid = part.oid and not t.tgisinternal and t.tgparentid = 0
      and t.tgname !~ '^pgopt_(insert|update|delete|truncate|dirty)$|^zz_pgopt_[0-9a-f]{{8}}_'
    union all
    select distinct 9, format('triggers keep columns from %s, and would not see its new partitions: drop those columns first', parent.called)
    from parent, pg_trigger t where t.tgrelid = parent.oid and t.tgname ~ '^zz_pgopt_[0-9a-f]{{8}}_(insert|update|delete|truncate)$'
    union all
    select distinct 10, format('%s reads %s itself: drop it before and create it after', pg_describe_object(d.classid, d.objid, d.objsubid), part.called)
    from part, pg_depend d
    where d.refclassid = 'pg_class'::regclass and d.refobjid = part.oid and d.deptype = 'n'
      and d.classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass)
    union all
    select 11, format('it is published by %I, whose subscribers have no such partitions: ALTER PUBLICATION %1$I DROP TABLE first', p.pubname)
    from pg_publication p
    where p.puballtables
       or exists (select from pg_publication_rel r where r.prpubid = p.oid and r.prrelid in ({table}, {part}))
       or exists (select from pg_publication_namespace n, pg_class c where n.pnpubid = p.oid and n.pnnspid = c.relnamespace and c.oid in ({table}, {part}))
    union all
    select distinct 12, format('its index %s is not valid: op.reindex_concurrently or drop it first', i.indexrelid::regclass)
    from pg_index i where i.indrelid in ({table}, {part}) and not i.indisvalid
) obstacles
order by place, said
