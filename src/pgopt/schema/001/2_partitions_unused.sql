select 'pgopt.partitioned still holds what ' || string_agg(relation::text, ', ' order by relation::text)
       || ' were, without which they do not get their keys back: unpartition or drop them first'
from pgopt.partitioned
having count(*) > 0
