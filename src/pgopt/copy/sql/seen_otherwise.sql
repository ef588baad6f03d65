-- Why a materialized view cannot be filled anew with the rows that its owner may see. To be read with an empty search path.
select format('materialized view %s has the rows that policies of %s show its owner %I, and those are not there while it is built anew:'
              ' drop it before and create it after', v.oid::regclass, t.oid::regclass, o.rolname)
from pg_class v
join pg_roles o on o.oid = v.relowner
join pg_class t on t.oid = {table}
where v.oid = {view} and t.relrowsecurity and not o.rolsuper and not o.rolbypassrls
  and (t.relforcerowsecurity or not pg_has_role(o.oid, t.relowner, 'USAGE'))
  and exists (select from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
              where r.ev_class = v.oid and d.refclassid = 'pg_class'::regclass and d.refobjid = t.oid)
