select 'columns of ' || string_agg(distinct target::text, ', ' order by target::text)
       || ' are kept by triggers that need the schema: op.drop_denormalized_columns() or op.drop_denormalized_aggregate() first'
from pgopt.denormalized
having count(*) > 0
