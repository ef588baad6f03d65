select c.oid::int8, (select n.nspname from pg_namespace n where n.oid = c.relnamespace), c.relname, c.relkind::text,
       (select i.inhparent::int8 from pg_inherits i where i.inhrelid = c.oid limit 1){more}
from pg_class c
where c.oid = {relation}
