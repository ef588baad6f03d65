select jsonb_build_object(
    'method', m.amname,
    'unique', i.indisunique,
    'nulls_not_distinct', i.indnullsnotdistinct,
    'predicate', pg_get_expr(i.indpred, i.indrelid),
    'storage', (select array_agg(o order by o) from unnest(c.reloptions) o),
    'columns', (
        select jsonb_agg(jsonb_build_array(
            pg_get_indexdef(i.indexrelid, k, false),
            i.indclass[k - 1]::text, i.indcollation[k - 1]::text, i.indoption[k - 1],
            (select a.attoptions from pg_attribute a where a.attrelid = i.indexrelid and a.attnum = k)
        ) order by k)
        from generate_series(1, i.indnkeyatts) k
    ),
    'include', (
        select jsonb_agg(pg_get_indexdef(i.indexrelid, k, false) order by k)
        from generate_series(i.indnkeyatts + 1, i.indnatts) k
    )
)::text
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_am m on m.oid = c.relam
where i.indexrelid = {index}
