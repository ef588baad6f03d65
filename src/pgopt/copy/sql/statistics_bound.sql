-- Whether statistics of a table cannot be given to another: those that say how columns hang together, and those of types that have their own.
select exists (select from pg_statistic_ext where stxrelid = {table})
    or exists (
        select from pg_attribute a join pg_type t on t.oid = a.atttypid
        where a.attrelid = {table} and a.attnum > 0 and not a.attisdropped and t.typanalyze::oid <> 0
            and t.typanalyze::oid not in (select oid from pg_proc where pronamespace = 'pg_catalog'::regnamespace))
