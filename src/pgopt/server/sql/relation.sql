select c.oid::int8, n.nspname, c.relname, c.relkind::text,
       (select i.inhparent::int8 from pg_inherits i where i.inhrelid = c.oid limit 1)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.oid = {relation}
