-- pg_stat_get_xact_tuples_returned is seq_tup_read of pg_stat_xact_all_tables; it knows indexes, too
select c.oid::int8, n.nspname, c.relname, c.relkind::text, i.indrelid::int8,
       c.reltablespace::int8, c.relfilenode::int8, pg_stat_get_xact_tuples_returned(c.oid)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_index i on i.indexrelid = c.oid
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
