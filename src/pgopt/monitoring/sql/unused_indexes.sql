-- Indexes that no query of this server has used since its statistics began; those of partitions are counted for the whole tree.
-- What keeps rows unique or a replica's identity is of use without being scanned. A standby counts for itself.
select n.nspname::text as schema_name, t.relname::text as table_name, c.relname::text as index_name,
       pg_get_indexdef(c.oid) as definition, s.bytes, s.parts, d.stats_reset, now() - d.stats_reset as stats_age
from (
    select coalesce(pg_partition_root(i.indexrelid), i.indexrelid) as root, sum(u.idx_scan) as scans,
           sum(pg_relation_size(i.indexrelid))::bigint as bytes, count(*) as parts
    from pg_index i join pg_stat_user_indexes u using (indexrelid)
    where i.indisvalid and i.indislive
    group by 1
) s
join pg_class c on c.oid = s.root
join pg_index x on x.indexrelid = s.root
join pg_class t on t.oid = x.indrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_stat_database d on d.datname = current_database()
where s.scans = 0 and not x.indisunique and not x.indisprimary and not x.indisexclusion and not x.indisreplident
  and not exists (select from pg_constraint o where o.conindid = c.oid) and n.nspname <> 'pgopt'
order by s.bytes desc, 1, 3
