-- Which column of a key may be NULL, also in rows that a NOT NULL which is not validated has not looked at.
select min(a.attname::text)
from pg_attribute a
where a.attrelid = {table} and a.attname = any({key})
  and (not a.attnotnull or exists (
      select from pg_constraint n
      where n.conrelid = a.attrelid and n.contype = 'n' and n.conkey = array[a.attnum] and not n.convalidated
  ))
