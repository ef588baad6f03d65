-- What of a column its definition does not say, each with what takes it away.
select what, way_out
from pg_attribute a
join pg_type t on t.oid = a.atttypid
cross join lateral (
    select 'the comment ' || quote_literal(col_description(a.attrelid, a.attnum)) as what, 'COMMENT ON COLUMN ... IS NULL' as way_out
    union all
    select 'grants of its own (' || array_to_string(a.attacl, ', ') || ')', 'REVOKE ... (column) ON ...'
    union all
    select case when a.attstattarget >= 0 then 'a statistics target' end, 'ALTER COLUMN ... SET STATISTICS -1'
    union all
    -- not what 15.20 and its like note there of a column, for themselves
    select 'options (' || string_agg(o, ', ') || ')', 'ALTER COLUMN ... RESET (...)'
    from unnest(a.attoptions) o where o !~ '^pg_attver='
    union all
    select case when a.attstorage <> t.typstorage then 'a storage mode of its own' end, 'ALTER COLUMN ... SET STORAGE ...'
    union all
    select case when a.attcompression <> '' then 'a compression of its own' end, 'ALTER COLUMN ... SET COMPRESSION default'
) extras
where a.attrelid = {table} and a.attname = {column} and not a.attisdropped and what is not null
