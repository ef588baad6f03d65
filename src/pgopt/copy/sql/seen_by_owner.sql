-- Why a materialized view, made anew by us with the query of {reader}, would show rows that policies hide from its owner. To be read with an
-- empty search path.
select distinct format('materialized view %s has the rows that policies of %s show its owner %I, and would be filled by %I: SET ROLE %3$I before',
                       v.oid::regclass, t.oid::regclass, o.rolname, current_user)
from pg_class v
join pg_roles o on o.oid = v.relowner
join pg_rewrite r on r.ev_class = {reader}
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
join pg_class t on t.oid = d.refobjid and t.relrowsecurity
where v.oid = {view} and o.rolname <> current_user and not o.rolsuper and not o.rolbypassrls
  and (t.relforcerowsecurity or not pg_has_role(o.oid, t.relowner, 'USAGE'))
