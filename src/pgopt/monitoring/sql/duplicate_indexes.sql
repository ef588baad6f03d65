-- Indexes that another one of the same table makes needless: an equal one, or a longer one that begins with the same columns.
-- Of two equal ones the one that a constraint needs stays, then the unique one, then the older one.
with described as materialized (
    select i.*, c.relam, c.relname, c.relnamespace, c.relispartition, c.reloptions,
           coalesce(pg_get_expr(i.indpred, i.indrelid), '') as predicate,
           (select array_agg(concat_ws(' ', pg_get_indexdef(i.indexrelid, k, false), i.indclass[k - 1],
                                       i.indcollation[k - 1], i.indoption[k - 1]) order by k)
            from generate_series(1, i.indnkeyatts) k) as keys,
           array(select pg_get_indexdef(i.indexrelid, k, false) from generate_series(1, i.indnatts) k) as columns,
           array(select pg_get_indexdef(i.indexrelid, k, false)
                 from generate_series(i.indnkeyatts + 1, i.indnatts) k) as included,
           exists (select from pg_constraint o where o.conindid = i.indexrelid) or i.indisexclusion or i.indisreplident as needed
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace
    where i.indisvalid and i.indislive and n.nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'pgopt')
), pairs as (
    select short.indexrelid as short, long.indexrelid as long, short.keys = long.keys as equal
    from described short
    join described long on long.indrelid = short.indrelid and long.relam = short.relam and long.indexrelid <> short.indexrelid
    join pg_am a on a.oid = short.relam
    where not short.needed and not short.relispartition and long.predicate = short.predicate
      and short.included <@ long.columns
      and (long.keys = short.keys
           or a.amname = 'btree' and not short.indisunique and long.keys[:cardinality(short.keys)] = short.keys)
      and (not short.indisunique
           or long.indisunique and long.indimmediate and long.indnullsnotdistinct = short.indnullsnotdistinct)
      -- of two that could each stand for the other one stays
      and not (long.keys = short.keys and long.included <@ short.columns and not long.needed and not long.relispartition
               and (not long.indisunique
                    or short.indisunique and short.indimmediate and long.indnullsnotdistinct = short.indnullsnotdistinct)
               and short.indexrelid < long.indexrelid)
)
select n.nspname::text as schema_name, t.relname::text as table_name, s.relname::text as index_name,
       pg_get_indexdef(p.short) as definition, l.relname::text as covered_by, pg_get_indexdef(p.long) as covered_by_definition,
       p.equal,
       (select sum(pg_relation_size(x))::bigint
        from (select p.short::regclass as x union select relid from pg_partition_tree(p.short)) tree) as bytes
from (select distinct on (short) * from pairs order by short, equal desc, long) p
join described s on s.indexrelid = p.short
join described l on l.indexrelid = p.long
join pg_class t on t.oid = s.indrelid
join pg_namespace n on n.oid = s.relnamespace
order by bytes desc, 1, 3
