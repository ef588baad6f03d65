-- What uses materialized views that are to be dropped, or their row types, and is none of them.
select distinct coalesce(r.ev_class::regclass::text, pg_describe_object(d.classid, d.objid, d.objsubid))
from pg_depend d
left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
where d.deptype = 'n' and (r.ev_class is null or r.ev_class <> all({views}::oid[]))
  and (d.refclassid = 'pg_class'::regclass and d.refobjid = any({views}::oid[])
       or d.refclassid = 'pg_type'::regclass
          and d.refobjid in (select unnest(array[t.oid, t.typarray]) from pg_type t where t.typrelid = any({views}::oid[])))
order by 1
