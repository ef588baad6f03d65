select i.indexrelid::regclass::text, i.indisexclusion
from pg_index i
where i.indrelid = any({tables}::oid[])
  and (i.indisexclusion or not i.indisvalid)
  and i.indexrelid::regclass::text !~ '_cc(new|old)[0-9]*"?$'
order by 1
