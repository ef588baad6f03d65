-- What is bound to relations themselves, or to their row types, and cannot follow when others take their places, with its way out:
-- functions with BEGIN ATOMIC bodies, policies of other tables, rules of other relations and the like
select distinct 21 as place, format('%s is bound to the table itself, not to its name: drop it before and create it after',
                                    pg_describe_object(d.classid, d.objid, d.objsubid)) as said
from pg_depend d
where d.refclassid = 'pg_class'::regclass and d.refobjid = any({tables}::oid[]) and d.deptype in ('n', 'a')
  and not (
    (d.classid = 'pg_class'::regclass
     and exists (select from pg_class c where c.oid = d.objid and c.relkind in ('i', 'I', 'S', 't', 'r', 'p')))
    or d.classid in ('pg_constraint'::regclass, 'pg_attrdef'::regclass, 'pg_statistic_ext'::regclass, 'pg_trigger'::regclass,
                     'pg_publication_rel'::regclass)
    or (d.classid = 'pg_policy'::regclass and exists (select from pg_policy p where p.oid = d.objid and p.polrelid = d.refobjid))
    or (d.classid = 'pg_rewrite'::regclass
        and exists (select from pg_rewrite r join pg_class c on c.oid = r.ev_class
                    where r.oid = d.objid and (c.oid = d.refobjid or c.relkind = 'm' or (c.relkind = 'v' and r.rulename = '_RETURN'))))
  )
union all
select distinct 22, format('%s uses its row type, which another table cannot take over: drop it before and create it after',
                           pg_describe_object(d.classid, d.objid, d.objsubid))
from pg_type t
join pg_depend d on d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray) and d.deptype = 'n'
where t.typrelid = any({tables}::oid[])
