select 'changes are noted for ' || string_agg(distinct view::text, ', ' order by view::text)
       || ', whose tables could not be written without pgopt.note_dirty(): drop them first, or select pgopt.unwatch(view)'
from pgopt.source
having count(*) > 0
