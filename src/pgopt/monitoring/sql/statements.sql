-- Where pg_stat_statements is, and what keeps it from being of use.
select (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
        where e.extname = 'pg_stat_statements') as place,
       case
           when current_setting('pg_stat_statements.max', true) is null
               then 'not preloaded: put pg_stat_statements into shared_preload_libraries and restart the server'
           when not exists (select from pg_extension where extname = 'pg_stat_statements')
               then 'not installed: op.create_extension("pg_stat_statements")'
           when (select string_to_array(extversion, '.')::int[] < array[1, 9] from pg_extension where extname = 'pg_stat_statements')
               then 'older than 1.9: alter extension pg_stat_statements update'
       end as trouble
