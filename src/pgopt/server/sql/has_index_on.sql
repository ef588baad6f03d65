-- an access method that has bitmaps alone (brin) is of no use for the few rows of a key
select exists (
    select from pg_index i
    where i.indrelid = {table} and i.indisvalid and i.indpred is null
      and i.indnkeyatts >= cardinality({columns}::text[]) and pg_index_has_property(i.indexrelid, 'index_scan')
      and (select array_agg(a.attname::text order by a.attname)
           from unnest((i.indkey::int2[])[0:cardinality({columns}::text[]) - 1]) k (attnum)
           join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum)
          = (select array_agg(c order by c) from unnest({columns}::text[]) c)
)
