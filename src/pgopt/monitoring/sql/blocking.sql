-- Who waits for whom: each session that holds others up and waits for nobody, and below it those that wait for it.
with recursive waiting as materialized (
    select a.pid, b.by from pg_stat_activity a, unnest(pg_blocking_pids(a.pid)) b (by)
    where a.wait_event_type = 'Lock' and a.datname = current_database()
), tree as (
    select distinct by as pid, null::int as waits_for, 0 as depth, array[by] as path
    from waiting where by not in (select pid from waiting)
    union all
    select w.pid, w.by as waits_for, t.depth + 1 as depth, t.path || w.pid as path
    from tree t join waiting w on w.by = t.pid where w.pid <> all(t.path)
)
select repeat('  ', t.depth) || coalesce(nullif(t.pid, 0)::text, 'a prepared transaction') as session, t.pid, t.waits_for, t.depth, t.path,
       a.usename::text as role, a.application_name as application, a.state,
       l.mode as wants, l.relation::regclass::text as relation, clock_timestamp() - l.waitstart as waits,
       clock_timestamp() - a.xact_start as open_for, left(a.query, 1000) as query
from (select distinct * from tree) t
left join pg_stat_activity a on a.pid = t.pid
left join pg_locks l on l.pid = t.pid and not l.granted
order by t.path
