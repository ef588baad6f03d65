select 'pgopt.split still holds what ' || string_agg(format('%I of %s', name, parent), ', ' order by parent::text, name)
       || ' were, without which they are not merged again: merge them or finalize their tables first'
from pgopt.split
having count(*) > 0
