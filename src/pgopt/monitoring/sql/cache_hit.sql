-- What part of the blocks of tables and of indexes was found in shared_buffers; the rest may have been in the system's own cache.
select kind, hits, reads, round(100.0 * hits / nullif(hits + reads, 0), 2) as hit_percent
from (
    select 'tables' as kind, coalesce(sum(heap_blks_hit), 0)::bigint as hits, coalesce(sum(heap_blks_read), 0)::bigint as reads
    from pg_statio_user_tables
    union all
    select 'indexes' as kind, coalesce(sum(idx_blks_hit), 0)::bigint as hits, coalesce(sum(idx_blks_read), 0)::bigint as reads
    from pg_statio_user_indexes
) s
order by kind desc
