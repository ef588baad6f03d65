-- Whether the planner knows all columns of a table, by statistics that are as fresh as autovacuum keeps them.
select c.reltuples > 0
       and pg_stat_get_mod_since_analyze(c.oid) <= current_setting('autovacuum_analyze_threshold')::float8
           + current_setting('autovacuum_analyze_scale_factor')::float8 * c.reltuples
       and not exists (
           select from pg_attribute a
           left join pg_catalog.pg_stats s on (s.schemaname, s.tablename, s.attname) = (n.nspname, c.relname, a.attname) and not s.inherited
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attstattarget is distinct from 0 and a.attgenerated <> 'v'
               and s.attname is null)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = {table}
