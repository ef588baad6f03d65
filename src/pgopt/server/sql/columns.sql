select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated::text, a.attidentity::text
from pg_attribute a
where a.attrelid = {table} and a.attnum > 0 and not a.attisdropped
order by a.attnum
