select c.oid::int8, n.nspname, c.relname, c.relkind::text, c.reloptions, t.reloptions, t.oid is not null
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_class t on t.oid = c.reltoastrelid
where c.relkind in ('r', 'm', 'i')
  and c.oid in (select relid from pg_partition_tree({relation}::int8::oid::regclass) union select {relation}::int8::oid)
order by n.nspname, c.relname
