-- Gives what the planner knows of a table to another with the same columns, as that of all its partitions together. The row
-- count comes last: it tells that all is there.
with given as materialized (
    select pg_restore_attribute_stats(
               'schemaname', {schema}::text, 'relname', {target}::text, 'attname', s.attname::text, 'inherited', true,
               'null_frac', s.null_frac, 'avg_width', s.avg_width, 'n_distinct', s.n_distinct,
               'most_common_vals', s.most_common_vals::text, 'most_common_freqs', s.most_common_freqs,
               'histogram_bounds', s.histogram_bounds::text, 'correlation', s.correlation,
               'most_common_elems', s.most_common_elems::text, 'most_common_elem_freqs', s.most_common_elem_freqs,
               'elem_count_histogram', s.elem_count_histogram, 'range_length_histogram', s.range_length_histogram::text,
               'range_empty_frac', s.range_empty_frac, 'range_bounds_histogram', s.range_bounds_histogram::text) as done
    from pg_catalog.pg_stats s
    where (s.schemaname, s.tablename) = ({schema}, {table}) and not s.inherited
)
select pg_restore_relation_stats('schemaname', {schema}::text, 'relname', {target}::text, 'reltuples', c.reltuples)
from pg_class c
where c.oid = {oid} and (select bool_and(done) from given)
