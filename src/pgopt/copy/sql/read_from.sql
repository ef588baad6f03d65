-- What a materialized view reads itself.
select distinct d.refobjid::int8
from pg_rewrite r
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
where r.ev_class = {view} and d.refobjid <> r.ev_class
