-- What of the schema is still needed, each with the way out.
select 'pgopt.undo still holds what undoes ' || string_agg(distinct operation, ', ' order by operation)
       || ': downgrade the revisions that did it first'
from pgopt.undo
having count(*) > 0
union all
select 'the views of op.install_monitoring() are in the schema: op.uninstall_monitoring() first'
where to_regclass('pgopt.slow_queries') is not null
