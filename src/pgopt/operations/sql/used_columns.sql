-- What uses the columns of a materialized view, or was said of them: the column, whether it is a view that must keep its type, and what.
select a.attname, d.classid = 'pg_rewrite'::regclass,
       case when d.classid = 'pg_rewrite'::regclass then 'view ' || (select r.ev_class::regclass from pg_rewrite r where r.oid = d.objid)
           else pg_describe_object(d.classid, d.objid, 0) end
from pg_attribute a
join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid and d.refobjsubid = a.attnum
where a.attrelid = {view} and a.attnum > 0
  and not exists (select from pg_rewrite r where d.classid = 'pg_rewrite'::regclass and r.oid = d.objid and r.ev_class = a.attrelid)
union
select a.attname, false, said.what
from pg_attribute a,
     lateral (values (col_description(a.attrelid, a.attnum) is not null, 'its comment'), (a.attstattarget >= 0, 'its statistics target'),
                     (exists (select from unnest(a.attoptions) o where o !~ '^pg_attver='), 'its options'), (a.attacl is not null, 'its grants'),
                     (a.attcompression in ('p', 'l'), 'its compression')) said (is_so, what)
where a.attrelid = {view} and a.attnum > 0 and said.is_so
order by 1, 3
