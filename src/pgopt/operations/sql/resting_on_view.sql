-- What reads a materialized view, or is bound to it otherwise.
select distinct coalesce(r.ev_class::regclass::text, pg_describe_object(d.classid, d.objid, 0))
from pg_depend d
left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
where d.refclassid = 'pg_class'::regclass and d.refobjid = {view} and d.deptype = 'n' and r.ev_class is distinct from d.refobjid
order by 1
