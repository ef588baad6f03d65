-- Foreign keys whose columns no index begins with: each row that goes from the other table is looked for by reading all of this one.
select n.nspname::text as schema_name, t.relname::text as table_name, o.conname::text as constraint_name,
       array(select a.attname::text
             from unnest(o.conkey) with ordinality k (number, place)
             join pg_attribute a on (a.attrelid, a.attnum) = (o.conrelid, k.number) order by k.place) as columns,
       rn.nspname::text as referenced_schema, r.relname::text as referenced_table,
       size.rows as table_rows, size.bytes as table_bytes,
       coalesce(u.n_tup_del + u.n_tup_upd, 0) as referenced_changes
from pg_constraint o
join pg_class t on t.oid = o.conrelid
join pg_namespace n on n.oid = t.relnamespace
join pg_class r on r.oid = o.confrelid
join pg_namespace rn on rn.oid = r.relnamespace
left join pg_stat_all_tables u on u.relid = r.oid
cross join lateral (
    select sum(greatest(l.reltuples, pg_stat_get_live_tuples(l.oid)))::bigint as rows, sum(pg_table_size(l.oid))::bigint as bytes
    from pg_class l
    -- what an analyzed partitioned table says of its rows, its partitions say once more
    where l.oid = t.oid and t.relkind <> 'p' or l.oid in (select relid from pg_partition_tree(t.oid) where isleaf)
) size
where o.contype = 'f' and o.conparentid = 0
  and not exists (
      select from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
      where i.indrelid = o.conrelid and i.indisvalid and i.indnkeyatts >= cardinality(o.conkey)
        and (i.indkey::int2[])[0:cardinality(o.conkey) - 1] @> o.conkey
        and (m.amname = 'btree' or m.amname = 'hash' and cardinality(o.conkey) = 1)
        -- what a foreign key looks for is never null
        and (i.indpred is null
             or pg_get_expr(i.indpred, i.indrelid) in
                (select format('(%I IS NOT NULL)', a.attname) from pg_attribute a
                 where a.attrelid = o.conrelid and a.attnum = any(o.conkey)))
  )
order by size.rows desc nulls last, 1, 2, 3
