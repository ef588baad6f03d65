-- Materialized views whose rows are much older than they usually are, or that were never filled.
select n.nspname::text as schema_name, c.relname::text as view_name, c.relispopulated as populated, m.fresh_at,
       now() - m.fresh_at as age, usual.gap as usual, coalesce(m.failures, 0) as failures
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pgopt.materialized m on m.view = c.oid
left join lateral (
    select percentile_cont(0.5) within group (order by g.gap) as gap
    from (
        select r.finished_at - lag(r.finished_at) over (order by r.id) as gap from pgopt.refresh r
        where r.view = c.oid and r.outcome in ('refreshed', 'skipped') order by r.id desc limit 20
    ) g
    having count(g.gap) >= 3
) usual on true
where c.relkind = 'm' and (not c.relispopulated or now() - m.fresh_at > greatest(3 * usual.gap, '10 minutes'))
order by age desc nulls first, 1, 2
