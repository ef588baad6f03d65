-- All jobs with what they did last and what they do now.
select
    j.name,
    coalesce(j.cron || case j.timezone when 'UTC' then '' else ' ' || j.timezone end, 'every ' || j.every),
    j.command,
    j.enabled,
    coalesce(j.retry_at, j.next_due)::text,
    extract(epoch from coalesce(j.retry_at, j.next_due) - clock_timestamp())::float8,
    j.failures,
    at_work,
    r.started_at::text,
    extract(epoch from clock_timestamp() - r.started_at)::float8,
    extract(epoch from coalesce(r.finished_at, clock_timestamp()) - r.started_at)::float8,
    case when r.finished_at is null and r.id is not null and not at_work then 'interrupted' else r.outcome end,
    coalesce(failed.error, r.error),
    -- one that is at work when it should begin again is late, too
    j.enabled and case when at_work then pgopt.due_after(j, r.started_at) else coalesce(j.retry_at, j.next_due) end
        < clock_timestamp() - make_interval(secs => {late})
from pgopt.job j
left join lateral (
    select * from pgopt.job_run r
    -- what pg_cron is to begin is open before that
    where r.job = j.name and r.outcome is distinct from 'left out' and (r.finished_at is not null or r.started_at <= clock_timestamp())
    order by r.id desc limit 1
) r on true
left join lateral (
    select f.error from pgopt.job_run f where f.job = j.name and f.outcome = 'failed' and j.failures > 0 order by f.id desc limit 1
) failed on true
cross join lateral (
    select r.id is not null and r.finished_at is null and (pgopt.is_with_pg_cron(j.name) or exists (
        select from pg_locks l
        where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
          and l.database = (select oid from pg_database where datname = current_database())
          and (l.classid::bigint << 32 | l.objid::bigint) = pgopt.job_key(j.name)
    )) as at_work
) w
order by j.name
