select n.nspname, c.relname
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where i.indrelid = {table} and not i.indisvalid and c.relname ~ {pattern}
order by 1, 2
