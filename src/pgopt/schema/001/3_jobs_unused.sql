select 'pgopt.job still holds ' || string_agg(name, ', ' order by name) || ': op.unschedule_job() them first'
from pgopt.job
having count(*) > 0
union all
select 'pg_cron runs the jobs: op.leave_pg_cron() first'
where pgopt.uses_pg_cron()
