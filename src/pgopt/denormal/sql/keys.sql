-- The types of some columns of a table, and whether keys can be told apart by them everywhere.
select a.attname, format('%I.%I', n.nspname, b.typname), n.nspname = 'pg_catalog' and b.typcategory <> 'A' or b.typtype = 'e',
       a.attgenerated <> ''
from pg_attribute a
join pg_type y on y.oid = a.atttypid
join pg_type b on b.oid = case y.typtype when 'd' then y.typbasetype else y.oid end
join pg_namespace n on n.oid = b.typnamespace
where a.attrelid = {table} and a.attnum > 0 and not a.attisdropped
