-- What is read by the views on top of a materialized view beside itself: making them anew locks it.
select distinct n.nspname, c.relname
from pg_depend d
join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
join pg_depend o on o.classid = 'pg_rewrite'::regclass and o.objid = r.oid and o.refclassid = 'pg_class'::regclass
join pg_class c on c.oid = o.refobjid and c.oid not in (v.oid, {view})
join pg_namespace n on n.oid = c.relnamespace
where d.refclassid = 'pg_class'::regclass and d.refobjid = {view}
  and not exists (select from pg_depend x join pg_rewrite y on x.classid = 'pg_rewrite'::regclass and y.oid = x.objid
                  where x.refclassid = 'pg_class'::regclass and x.refobjid = {view} and y.ev_class = c.oid and c.relkind = 'v')
order by 1, 2
