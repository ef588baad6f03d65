-- Foreign keys that the partitions of a table have and the table has not, as before 18 where it cannot have one for new rows only.
select distinct o.conname, pg_get_constraintdef(o.oid), o.confrelid::int8, obj_description(o.oid, 'pg_constraint'::name)
from pg_partition_tree({table}::oid::regclass) t
join pg_constraint o on o.conrelid = t.relid
where t.isleaf and t.level > 0 and o.contype = 'f' and o.conparentid = 0
  and not exists (select from pg_constraint p where p.conrelid = {table} and p.conname = o.conname)
  -- ours are on all of them at once: one that somebody has put on some partitions is theirs alone
  and not exists (
      select from pg_partition_tree({table}::oid::regclass) l where l.isleaf
          and not exists (select from pg_constraint e where e.conrelid = l.relid and e.conname = o.conname and e.contype = 'f'))
order by 1
