-- Whether pg_stat_statements still has room: a full table forgets the statements that are called least, so that sums are too small.
select case when i.dealloc > 0 or e.entries >= e.most then 'full' else 'ok' end as state, e.entries, e.most, i.dealloc as evictions, i.stats_reset,
       case when i.dealloc > 0 or e.entries >= e.most then
           'raise pg_stat_statements.max (which needs a restart), or select pg_stat_statements_reset() from time to time'
       end as advice
from {place}.pg_stat_statements_info i,
     (select count(*) as entries, current_setting('pg_stat_statements.max')::bigint as most from {place}.pg_stat_statements) e
