select 'pgopt.retention_policy still says how long the rows of '
       || string_agg(format('%I.%I', schema_name, table_name), ', ' order by schema_name, table_name)
       || ' are kept: drop these policies first'
from pgopt.retention_policy
having count(*) > 0
