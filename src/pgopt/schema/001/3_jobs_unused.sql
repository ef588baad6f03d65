select 'pgopt.job still holds ' || string_agg(name, ', ' order by name) || ': op.unschedule_job() them first'
from pgopt.job
having count(*) > 0
