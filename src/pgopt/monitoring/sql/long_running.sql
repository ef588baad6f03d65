-- Transactions of this database that are open for more than a minute, or for as long as the setting pgopt.long_running says.
-- Each keeps VACUUM from what was deleted since it began, and a CONCURRENTLY statement waits for it.
select pid, usename::text as role, application_name as application, backend_type as kind, state,
       clock_timestamp() - xact_start as open_for, clock_timestamp() - query_start as query_for,
       nullif(concat_ws(': ', wait_event_type, wait_event), '') as waits_for, left(query, 1000) as query
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
  and clock_timestamp() - xact_start > coalesce(nullif(current_setting('pgopt.long_running', true), ''), '1 minute')::interval
order by xact_start, pid
