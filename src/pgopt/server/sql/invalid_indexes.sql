select n.nspname, c.relname
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where i.indrelid in ({table}, (select t.reltoastrelid from pg_class t where t.oid = {table})) and not i.indisvalid and c.relname ~ {pattern}
order by 1, 2
