-- Which database this is, and how it is on the whole.
select current_database()::text as database, current_setting('server_version') as version, pg_database_size(current_database())::bigint as bytes,
       now() - pg_postmaster_start_time() as up, clock_timestamp() as at, pg_is_in_recovery() as standby
