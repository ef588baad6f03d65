select distinct pg_describe_object(d.classid, d.objid, 0)
from pg_attribute a
join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid and d.refobjsubid = a.attnum
where a.attrelid = {table} and a.attname = {column} and not a.attisdropped
  and d.classid <> 'pg_attrdef'::regclass
  and not exists (select from pg_constraint c where d.classid = 'pg_constraint'::regclass and c.oid = d.objid and (c.contype = 'n' or c.conname = {proof}))
order by 1
