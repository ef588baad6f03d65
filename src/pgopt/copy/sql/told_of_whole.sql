select quote_ident(a.attname)
from pg_attribute a
where a.attrelid = {table} and not a.attisdropped
  and exists (select from unnest(a.attoptions) o where o like 'n_distinct=%')
  and not exists (select from unnest(a.attoptions) o where o like 'n_distinct_inherited=%')
order by a.attnum
