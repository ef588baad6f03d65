-- What this transaction has locked so far, without indexes and the server's own.
select distinct n.nspname, c.relname
from pg_locks l
join pg_class c on c.oid = l.relation
join pg_namespace n on n.oid = c.relnamespace
where l.pid = pg_backend_pid() and l.locktype = 'relation' and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and l.database = (select oid from pg_database where datname = current_database())
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1, 2
