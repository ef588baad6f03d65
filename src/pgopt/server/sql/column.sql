select jsonb_build_array(format_type(a.atttypid, a.atttypmod), a.attcollation::text, pg_get_expr(d.adbin, d.adrelid),
                         a.attgenerated, a.attidentity)::text,
       a.attnotnull,
       a.attgenerated::text,
       a.attidentity::text,
       exists (select from pg_depend s where s.classid = 'pg_class'::regclass and s.refclassid = 'pg_class'::regclass
               and s.refobjid = a.attrelid and s.refobjsubid = a.attnum and s.deptype = 'a'),
       exists (select from pg_constraint c where c.conrelid = a.attrelid and a.attnum = any (c.conkey) and c.contype <> 'n')
from pg_attribute a
left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
where a.attrelid = {table} and a.attname = {column} and not a.attisdropped
