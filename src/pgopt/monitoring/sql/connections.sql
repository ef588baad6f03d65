-- Who is connected to the server, and in which state.
select datname::text as database, usename::text as role, application_name as application, state, count(*) as connections,
       max(clock_timestamp() - state_change) as longest_in_state,
       sum(count(*)) over ()::bigint as all_connections, current_setting('max_connections')::int as max_connections
from pg_stat_activity
where backend_type = 'client backend'
group by 1, 2, 3, 4
order by connections desc, 1, 2, 3, 4
