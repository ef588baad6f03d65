-- Foreign keys of a table, of its partitions and of others to it that do not hold for all rows yet.
select o.conname, c.relname, n.nspname, r.relname, m.nspname
from pg_constraint o
join pg_class c on c.oid = o.conrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_class r on r.oid = o.confrelid
join pg_namespace m on m.oid = r.relnamespace
where o.contype = 'f' and not o.convalidated and o.conparentid = 0
  and (o.confrelid = {table} or o.conrelid = {table}
       or o.conrelid in (select relid from pg_partition_tree({table}::oid::regclass)))
order by 1, 3, 2
