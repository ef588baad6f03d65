select c.oid::int8, n.nspname, c.relname, c.relkind::text, t.parentrelid::oid::int8
from pg_partition_tree({root}::regclass) t
join pg_class c on c.oid = t.relid
join pg_namespace n on n.oid = c.relnamespace
where t.parentrelid is not null
order by t.level, n.nspname, c.relname
