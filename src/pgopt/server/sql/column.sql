select format_type(a.atttypid, a.atttypmod),
       a.attcollation::regcollation::text,
       pg_get_expr(d.adbin, d.adrelid),
       a.attgenerated::text,
       a.attidentity::text,
       a.attnotnull,
       exists (select from pg_depend s where s.classid = 'pg_class'::regclass and s.refclassid = 'pg_class'::regclass
               and s.refobjid = a.attrelid and s.refobjsubid = a.attnum and s.deptype = 'a')
from pg_attribute a
left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
where a.attrelid = {table} and a.attname = {column} and not a.attisdropped
