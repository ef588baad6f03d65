-- Dead rows, when each table was vacuumed and analyzed last, and how far it is from the point where the server takes no more writes.
select n.nspname::text as schema_name, c.relname::text as table_name, s.n_live_tup as live_rows, s.n_dead_tup as dead_rows,
       round(100.0 * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0), 1) as dead_percent,
       s.n_mod_since_analyze as changed_since_analyze,
       s.last_vacuum, s.last_autovacuum, s.last_analyze, s.last_autoanalyze, o.autovacuum, age.xids as xid_age,
       2147483648 - 1000000 - age.xids as xids_left, age.multixacts as multixact_age
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_class t on t.oid = c.reltoastrelid
left join pg_stat_all_tables s on s.relid = c.oid
cross join lateral (
    select greatest(age(c.relfrozenxid), age(t.relfrozenxid)) as xids,
           greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) as multixacts
) age
cross join lateral (
    select current_setting('autovacuum')::boolean and coalesce(
        (select option_value::boolean from pg_options_to_table(c.reloptions) where option_name = 'autovacuum_enabled'), true
    ) as autovacuum
) o
where c.relkind in ('r', 'm') and c.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'information_schema')
order by dead_rows desc nulls last, 1, 2
