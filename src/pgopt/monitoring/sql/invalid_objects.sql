-- Indexes that a failed CONCURRENTLY left behind, and constraints that old rows were never checked against.
-- Left out is what somebody is building or dropping now.
select 'index' as kind, n.nspname::text as schema_name, t.relname::text as table_name, c.relname::text as name,
       pg_get_indexdef(c.oid) as definition
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_class t on t.oid = i.indrelid
join pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid and n.nspname <> 'pg_toast'
  and not exists (
      select from pg_stat_progress_create_index p
      where p.datname = current_database()
        and (p.relid = t.oid or t.oid in (select relid from pg_partition_ancestors(p.relid)))
  )
  -- DROP INDEX CONCURRENTLY shows no progress, but holds this; VACUUM does not
  and not exists (
      select from pg_locks l
      where l.locktype = 'relation' and l.relation = c.oid and l.mode = 'ShareUpdateExclusiveLock' and l.granted
        and l.database = (select oid from pg_database where datname = current_database())
  )
union all
select 'constraint' as kind, n.nspname::text as schema_name, t.relname::text as table_name, o.conname::text as name,
       pg_get_constraintdef(o.oid) as definition
from pg_constraint o
join pg_class t on t.oid = o.conrelid
join pg_namespace n on n.oid = t.relnamespace
-- from 18 on a constraint may say that it is not enforced
where not o.convalidated and o.conparentid = 0 and to_jsonb(o) ->> 'conenforced' is distinct from 'false'
order by 1 desc, 2, 3, 4
