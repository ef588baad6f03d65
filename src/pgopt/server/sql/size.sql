select
    c.oid::regclass::text,
    -- the planner knows nothing of a table that was never analyzed: -1
    case when bool_and(part.reltuples >= 0) then sum(part.reltuples)::int8 end,
    sum(pg_total_relation_size(part.oid))::int8
from pg_class c
cross join lateral (
    select p.oid, p.reltuples
    from pg_partition_tree(c.oid) tree
    join pg_class p on p.oid = tree.relid
    where tree.isleaf
    union
    select c.oid, c.reltuples
    where c.relkind <> 'p'
) part
where c.oid = to_regclass({relation})
group by c.oid
