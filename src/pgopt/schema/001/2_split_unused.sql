select 'pgopt.split still holds what ' || string_agg(format('%I of %s', name, parent), ', ' order by parent::text, name)
       || ' were, without which they are not merged again: op.merge_partitions first'
from pgopt.split
where exists (select from pg_class where oid = parent)
having count(*) > 0
