-- Foreign keys of a table, of its partitions and of others to it that do not hold for all rows yet.
select o.conname, o.conrelid::int8, o.confrelid::int8
from pg_constraint o
join pg_class c on c.oid = o.conrelid
join pg_namespace n on n.oid = c.relnamespace
-- one that is NOT ENFORCED, from 18 on, never does
where o.contype = 'f' and not o.convalidated and o.conparentid = 0 and coalesce((to_jsonb(o) ->> 'conenforced')::bool, true)
  and (o.confrelid = {table} or o.conrelid = {table}
       or o.conrelid in (select relid from pg_partition_tree({table}::oid::regclass)))
order by o.conname, n.nspname, c.relname
