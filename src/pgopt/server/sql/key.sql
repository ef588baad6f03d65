select (select array_agg(a.attname::text order by k.position)
        from unnest(i.indkey::int2[]) with ordinality k (attnum, position)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where k.position <= i.indnkeyatts)
from pg_index i
where i.indrelid = {table} and i.indisunique and i.indisvalid and i.indimmediate
  and i.indpred is null and i.indexprs is null
  and not exists (select from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) k (attnum)
                  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                  where not a.attnotnull or exists (
                      select from pg_constraint n
                      where n.conrelid = a.attrelid and n.contype = 'n' and n.conkey = array[a.attnum] and not n.convalidated
                  ))
order by i.indisprimary desc, i.indnkeyatts, i.indexrelid
limit 1
