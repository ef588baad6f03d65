-- The tables whose partitions pgopt knows, with what is in each; of time and numbers alone, since lists and hashes do not run out.
select p.relation::oid::int8, n.nspname, c.relname, p.by ->> 'kind', p.by ->> 'column', p.by ->> 'step', p.premake, p.keep, p.on_expiry,
       pgopt.place(p.by, pgopt.reached(p.relation)),
       (select jsonb_agg(jsonb_build_object(
                   'name', r.relname, 'schema', m.nspname, 'lower', t.lower, 'upper', t.upper, 'low', t.low::text,
                   -- numbers end with their type
                   'high', coalesce(nullif(t.high, 'infinity'), (p.by ->> 'most')::numeric + 1, t.high)::text,
                   'bytes', (select sum(pg_total_relation_size(relid)) from pg_partition_tree(t.partition)),
                   'rows', (select sum(l.reltuples) filter (where l.reltuples >= 0)
                            from pg_partition_tree(t.partition) e join pg_class l on l.oid = e.relid where e.isleaf),
                   'in_use', t.low is null and pgopt.has_rows(t.partition)
               ) order by t.low nulls last)
        from pgopt.partitions_of(p.relation) t join pg_class r on r.oid = t.partition join pg_namespace m on m.oid = r.relnamespace)::text
from pgopt.partitioned p
join pg_class c on c.oid = p.relation and c.relkind = 'p'
join pg_namespace n on n.oid = c.relnamespace
where p.by ->> 'kind' in ('time', 'int') and p.relation = coalesce({table}::oid, p.relation)
order by 2, 3
