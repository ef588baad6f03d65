-- Indexes that have the names of parts of one, on tables that are no partitions: each with its table.
select n.nspname, c.relname, t.oid::int8
from pg_index i
join pg_class c on c.oid = i.indexrelid and not c.relispartition
join pg_namespace n on n.oid = c.relnamespace
join pg_class t on t.oid = i.indrelid and t.relkind in ('r', 'p') and not t.relispartition and t.oid <> {root}
where c.relname = t.relname || '_' || {name}
order by 1, 2
