select a.attname::text
from pg_partitioned_table p
cross join unnest(p.partattrs::int2[]) with ordinality k (attnum, position)
left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = k.attnum
where p.partrelid = {table}
order by k.position
