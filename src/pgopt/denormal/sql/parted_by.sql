-- The columns by which rows go to one partition of a table or another, at any depth.
select distinct a.attname::text
from pg_partition_tree({table}::oid::regclass) t
join pg_partitioned_table p on p.partrelid = t.relid
join pg_attribute a on a.attrelid = p.partrelid and a.attnum > 0
where a.attnum = any(p.partattrs::int2[])
   or (p.partexprs is not null
       and exists (select from pg_depend d
                   where d.classid = 'pg_class'::regclass and d.objid = p.partrelid and d.objsubid = 0
                     and d.refclassid = 'pg_class'::regclass and d.refobjid = p.partrelid and d.refobjsubid = a.attnum))
order by 1
