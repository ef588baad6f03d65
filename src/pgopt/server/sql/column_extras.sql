-- What of a column its definition does not say, each with what takes it away.
select what, way_out
from pg_attribute a
join pg_type t on t.oid = a.atttypid
cross join lateral (values
    ('the comment ' || quote_literal(col_description(a.attrelid, a.attnum)), 'COMMENT ON COLUMN ... IS NULL'),
    ('grants of its own (' || array_to_string(a.attacl, ', ') || ')', 'REVOKE ... (column) ON ...'),
    (case when a.attstattarget >= 0 then 'a statistics target' end, 'ALTER COLUMN ... SET STATISTICS -1'),
    ('options (' || array_to_string(a.attoptions, ', ') || ')', 'ALTER COLUMN ... RESET (...)'),
    (case when a.attstorage <> t.typstorage then 'a storage mode of its own' end, 'ALTER COLUMN ... SET STORAGE ...'),
    (case when a.attcompression <> '' then 'a compression of its own' end, 'ALTER COLUMN ... SET COMPRESSION default')
) as extras (what, way_out)
where a.attrelid = {table} and a.attname = {column} and not a.attisdropped and what is not null
