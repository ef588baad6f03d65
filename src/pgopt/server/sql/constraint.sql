select c.oid::int8,
       c.conname,
       c.contype::text,
       c.convalidated,
       regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', ''),
       c.condeferrable,
       c.condeferred,
       c.coninhcount > 0,
       c.conislocal,
       (select array_agg(a.attname::text order by k.position)
        from unnest(c.conkey) with ordinality k (attnum, position)
        join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum),
       nullif(c.confrelid, 0)::int8,
       (select array_agg(a.attname::text order by k.position)
        from unnest(c.confkey) with ordinality k (attnum, position)
        join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.attnum),
       c.confdeltype::text,
       c.confupdtype::text,
       c.confmatchtype::text,
       obj_description(c.oid, 'pg_constraint'::name),
       -- PostgreSQL 18 has the last two
       c.confdelsetcols is not null
       or coalesce((to_jsonb(c) ->> 'conperiod')::bool, false)
       or not coalesce((to_jsonb(c) ->> 'conenforced')::bool, true)
from pg_constraint c
where c.conrelid = {table} and {which}
order by c.conname
