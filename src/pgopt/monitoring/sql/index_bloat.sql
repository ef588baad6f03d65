-- How much larger B-tree indexes are than their rows need, as an estimate from the statistics of ANALYZE.
with known as materialized (
    -- read once: the planner would look for each column in a view of many joins
    select schemaname, tablename, attname, null_frac, avg_width, n_distinct from pg_stats
    where not inherited and schemaname not in ('pg_catalog', 'pg_toast', 'information_schema')
), block as (
    select current_setting('block_size')::numeric as size
), described as (
    select c.oid, n.nspname, t.relname as table_name, c.relname as index_name, c.reltuples, c.relpages, i.indisunique,
           coalesce((select option_value::int from pg_options_to_table(c.reloptions) where option_name = 'fillfactor'), 90) as fill,
           t.reltuples as rows, pg_stat_get_mod_since_analyze(t.oid) as changed,
           -- the header, and a bitmap where something is null; then the values
           sum((1 - coalesce(s.null_frac, 0)) * coalesce(s.avg_width, 0)) as width, bool_or(s.null_frac > 0) as nulls,
           max(case when s.n_distinct >= 0 then s.n_distinct else -s.n_distinct * t.reltuples end) as different,
           count(*) > count(s.avg_width) as unknown, bool_or(a.atttypid = 'name'::regtype) as has_name
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam and m.amname = 'btree'
    join pg_class t on t.oid = i.indrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid
    left join pg_attribute k on k.attrelid = t.oid and k.attnum = i.indkey[a.attnum - 1] and k.attnum > 0
    left join known s on s.schemaname = n.nspname
                     and s.tablename = case when k.attnum is null then c.relname else t.relname end
                     and s.attname = coalesce(k.attname, a.attname)
    where c.relkind = 'i' and i.indisvalid and n.nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'pgopt')
    group by c.oid, n.nspname, t.oid, i.indisunique
), needed as (
    select d.*, b.size,
           1 + ceil(greatest(d.reltuples, 0)
                    * (4 + case when d.nulls then 16 else 8 end + 8 * ceil(coalesce(d.width, 0) / 8.0))
                    / ((b.size - 40) * d.fill / 100)) as pages
    from described d cross join block b
)
select nspname::text as schema_name, table_name::text, index_name::text, pg_get_indexdef(oid) as definition,
       (relpages * size)::bigint as bytes,
       greatest((relpages - pages) * size, 0)::bigint as bloat_bytes,
       round(100 * greatest(relpages - pages, 0)::numeric / nullif(relpages, 0), 1) as bloat_percent,
       case
           when reltuples < 0 or unknown and reltuples <> 0 then 'never analyzed'
           when has_name then 'has columns of type name'
           when changed > 0.2 * greatest(rows, 1000) then 'many rows changed since ANALYZE'
           when not indisunique and different < reltuples / 2 then 'equal entries are stored once'
       end as unreliable
from needed
order by bloat_bytes desc, 1, 3
