select pg_describe_object(d.classid, d.objid, d.objsubid)
from pg_constraint c
join pg_depend d on (d.refclassid, d.refobjid) in (('pg_constraint'::regclass, c.oid), ('pg_class'::regclass, c.conindid))
where c.oid = {constraint} and d.deptype = 'n'
order by 1
