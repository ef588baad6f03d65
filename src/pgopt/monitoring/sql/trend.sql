-- How the database was over some days: all snapshots, or a hundred points of which each is some of them.
with picked as (
    select s.*, ntile(100) over (order by s.id) as part from pgopt.snapshot s
    where s.taken_at > clock_timestamp() - make_interval(days => {days})
)
select extract(epoch from max(taken_at))::float8 as at, max(database_bytes)::float8 as database_bytes,
       max(connections)::float8 as connections, max(active)::float8 as active,
       (sum(commits) / nullif(sum(seconds) filter (where commits is not null), 0))::float8 as commits,
       (100 * sum(blocks_hit) / nullif(sum(blocks_hit + blocks_read), 0))::float8 as hit_percent,
       (sum(rows_written) / nullif(sum(seconds), 0))::float8 as rows_written, max(dead_rows)::float8 as dead_rows,
       max(longest_transaction) as longest_transaction, max(table_bloat_bytes + index_bloat_bytes)::float8 as bloat_bytes,
       max(id) as last, min(id) as first, bool_or(resets <> array[]::text[]) as reset
from picked
group by part
order by part
