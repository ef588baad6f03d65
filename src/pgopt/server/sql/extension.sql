select e.extname,
       n.nspname,
       e.extversion,
       obj_description(e.oid, 'pg_extension'::name),
       coalesce((select array_agg(c.oid::int8 order by c.oid) from pg_depend d join pg_class c on c.oid = d.objid
        where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid
          and d.deptype = 'e' and c.relkind in ('r', 'p', 'v')), '{{}}'),
       coalesce(e.extconfig::int8[], '{{}}')
from pg_extension e
join pg_namespace n on n.oid = e.extnamespace
where e.extname = {extension}
