-- How much larger tables are than their rows need, without TOAST, as an estimate from the statistics of ANALYZE.
with known as materialized (
    -- read once: the planner would look for each column in a view of many joins
    select schemaname, tablename, attname, null_frac, avg_width from pg_stats
    where not inherited and schemaname not in ('pg_catalog', 'pg_toast', 'information_schema')
), described as (
    select c.oid, n.nspname, c.relname, c.reltuples, c.relpages, current_setting('block_size')::numeric as size,
           coalesce((select option_value::int from pg_options_to_table(c.reloptions) where option_name = 'fillfactor'), 100) as fill,
           sum((1 - coalesce(s.null_frac, 0)) * coalesce(s.avg_width, 0)) as width,
           -- a bitmap of what is null, where something is
           case when bool_or(s.null_frac > 0) then 8 * ceil((23 + ceil(count(*) / 8.0)) / 8.0) else 24 end as header,
           count(*) > count(s.avg_width) as unknown, bool_or(a.atttypid = 'name'::regtype) as has_name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join known s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname
    where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'pgopt')
    group by c.oid, n.nspname
), needed as (
    select *, ceil(greatest(reltuples, 0) * (4 + header + 8 * ceil(coalesce(width, 0) / 8.0)) / ((size - 24) * fill / 100)) as pages
    from described
)
select nspname::text as schema_name, relname::text as table_name, (relpages * size)::bigint as bytes,
       greatest((relpages - pages) * size, 0)::bigint as bloat_bytes,
       round(100 * greatest(relpages - pages, 0)::numeric / nullif(relpages, 0), 1) as bloat_percent,
       case
           when reltuples < 0 or unknown and reltuples <> 0 then 'never analyzed'
           when has_name then 'has columns of type name'
           when pg_stat_get_mod_since_analyze(oid) > 0.2 * greatest(reltuples, 1000) then 'many rows changed since ANALYZE'
       end as unreliable
from needed
order by bloat_bytes desc, 1, 2
