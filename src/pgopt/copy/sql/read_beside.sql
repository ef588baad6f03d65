-- What is read by the views on top of materialized views beside those: making them anew locks it.
with on_top as (
    select distinct r.oid as rule, v.oid
    from pg_depend d
    join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
    join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
    where d.refclassid = 'pg_class'::regclass and d.refobjid = any({views}::oid[])
)
select distinct n.nspname, c.relname
from on_top t
join pg_depend o on o.classid = 'pg_rewrite'::regclass and o.objid = t.rule and o.refclassid = 'pg_class'::regclass
join pg_class c on c.oid = o.refobjid and c.oid <> all({views}::oid[]) and c.oid not in (select oid from on_top)
join pg_namespace n on n.oid = c.relnamespace
order by 1, 2
