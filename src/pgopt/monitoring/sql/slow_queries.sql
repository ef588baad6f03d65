-- What this database spends its time on.
select s.queryid, r.rolname::text as role, s.calls, s.total_exec_time, s.mean_exec_time, s.max_exec_time, s.stddev_exec_time,
       round((100 * s.total_exec_time / nullif(sum(s.total_exec_time) over (), 0))::numeric, 1) as share_percent,
       s.rows, s.shared_blks_hit, s.shared_blks_read, s.temp_blks_written, s.query
from {place}.pg_stat_statements s
left join pg_roles r on r.oid = s.userid
where s.dbid = (select oid from pg_database where datname = current_database()) and s.toplevel
order by s.total_exec_time desc
