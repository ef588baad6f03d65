-- What the server made of the view that is a probe.
select pg_get_viewdef(c.oid),
       format_type(b.oid, case y.typtype when 'd' then y.typtypmod else a.atttypmod end)
           || case when a.attcollation not in (0, b.typcollation) then ' collate ' || a.attcollation::regcollation else '' end,
       format_type(b.oid, null),
       format('%I.%I', n.nspname, b.typname),
       b.typnamespace = 'pg_catalog'::regnamespace or b.typtype = 'e',
       (b.typnamespace = 'pg_catalog'::regnamespace or b.typtype = 'e')
           and (b.typtype = 'e' or exists (select from pg_opclass o join pg_am m on m.oid = o.opcmethod
                                           where m.amname = 'btree' and o.opcdefault
                                             and (o.opcintype = b.oid or (b.typname = 'varchar' and o.opcintype = 'text'::regtype)))),
       array(select distinct i.attname::text from pg_rewrite w
             join pg_depend p on p.classid = 'pg_rewrite'::regclass and p.objid = w.oid and p.refclassid = 'pg_class'::regclass
             join pg_attribute i on i.attrelid = p.refobjid and i.attnum = p.refobjsubid and i.attnum > 0
             where w.ev_class = c.oid and p.refobjid <> c.oid order by 1),
       array(select distinct pg_describe_object(p.refclassid, p.refobjid, 0) from pg_rewrite w
             join pg_depend p on p.classid = 'pg_rewrite'::regclass and p.objid = w.oid
             where w.ev_class = c.oid
               and ((p.refclassid = 'pg_class'::regclass and p.refobjid not in (c.oid, {source}))
                    or (p.refclassid = 'pg_proc'::regclass
                        and exists (select from pg_proc f where f.oid = p.refobjid and f.provolatile = 'v')))
             order by 1)
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'pgopt_it'
join pg_type y on y.oid = a.atttypid
join pg_type b on b.oid = case y.typtype when 'd' then y.typbasetype else y.oid end
join pg_namespace n on n.oid = b.typnamespace
where c.oid = 'pg_temp.pgopt_probe_it'::regclass
