-- The types of some columns of a table, and whether keys can be told apart by them everywhere.
select a.attname, format_type(b.oid, null), b.typnamespace = 'pg_catalog'::regnamespace and b.typelem = 0 or b.typtype = 'e',
       a.attgenerated <> ''
from pg_attribute a
join pg_type y on y.oid = a.atttypid
join pg_type b on b.oid = case y.typtype when 'd' then y.typbasetype else y.oid end
where a.attrelid = {table} and a.attnum > 0 and not a.attisdropped
