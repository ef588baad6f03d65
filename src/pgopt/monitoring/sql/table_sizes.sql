-- How large tables and materialized views are; a partitioned one with all that is below it.
select n.nspname::text as schema_name, r.relname::text as table_name, r.relkind = 'p' as partitioned, s.partitions, s.rows,
       s.table_bytes, s.toast_bytes, s.index_bytes, s.table_bytes + s.toast_bytes + s.index_bytes as total_bytes
from (
    select coalesce(pg_partition_root(c.oid), c.oid) as root, count(*) filter (where c.relispartition and c.relkind = 'r') as partitions,
           sum(greatest(c.reltuples, 0)) filter (where c.relkind <> 'p')::bigint as rows,
           sum(pg_table_size(c.oid) - coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0))::bigint as table_bytes,
           sum(coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0))::bigint as toast_bytes,
           sum(pg_indexes_size(c.oid))::bigint as index_bytes
    from pg_class c
    where c.relkind in ('r', 'p', 'm')
    group by 1
) s
join pg_class r on r.oid = s.root
join pg_namespace n on n.oid = r.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
order by total_bytes desc, 1, 2
