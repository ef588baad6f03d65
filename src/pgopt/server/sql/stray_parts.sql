-- Indexes that are called as if they had been built for one on a partitioned table, and are none of its parts: on tables that are no partitions
-- of it, or have another name by now; each with its table, and with whether that is a partition of it.
with tree as (select relid from pg_partition_tree({root}))
select n.nspname, c.relname, t.oid::int8, t.oid in (select relid from tree)
from pg_index i
join pg_class c on c.oid = i.indexrelid and not c.relispartition
join pg_namespace n on n.oid = c.relnamespace
join pg_class t on t.oid = i.indrelid and t.relkind in ('r', 'p')
where right(c.relname::text, char_length({name}) + 1) = '_' || {name}
  and case when t.oid in (select relid from tree) then c.relname <> t.relname || '_' || {name} else true end
order by 1, 2
