-- Materialized views whose refresh has failed, and as of when their rows are.
select n.nspname::text as schema_name, c.relname::text as view_name, m.failures, m.error, m.fresh_at, m.retry_at
from pgopt.materialized m
join pg_class c on c.oid = m.view and c.relkind = 'm'
join pg_namespace n on n.oid = c.relnamespace
where m.failures > 0
order by m.failures desc, 1, 2
