-- How many sessions of this database are in which state.
select coalesce(state, 'none') as state, count(*) as sessions, count(*) filter (where wait_event_type = 'Lock') as waiting,
       coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)::float8 as longest
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
group by 1
