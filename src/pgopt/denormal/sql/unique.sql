-- Whether no two rows of a table have the same values in some columns.
select exists (
    select from pg_index i
    where i.indrelid = {table} and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null
      and (select bool_and(a.attname = any({columns}::text[]))
           from unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) k (attnum)
           join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum)
)
