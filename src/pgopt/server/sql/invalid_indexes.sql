select n.nspname, c.relname
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where i.indrelid in ({table}, (select t.reltoastrelid from pg_class t where t.oid = {table})) and not i.indisvalid and c.relname ~ {pattern}
  -- REINDEX CONCURRENTLY holds a lock on all that it makes anew until it ends; the server tells of the one at which it is
  and not exists (select from pg_locks l where l.relation = c.oid and l.granted and l.mode = 'ShareUpdateExclusiveLock'
                    and l.pid <> pg_backend_pid()
                    and l.database = (select d.oid from pg_database d where d.datname = current_database()))
order by 1, 2
