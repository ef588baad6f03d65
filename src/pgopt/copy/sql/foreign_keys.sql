-- Foreign keys from a table, and those of other tables (or its own) to it. To be read with an empty search path.
select c.relname, n.nspname, o.conname, pg_get_constraintdef(o.oid), o.confrelid::int8, o.conrelid::int8,
       (select array_agg(a.attname::text order by k.place)
        from unnest(o.confkey) with ordinality k (attnum, place)
        join pg_attribute a on a.attrelid = o.confrelid and a.attnum = k.attnum),
       (select array_agg(a.attname::text order by k.place)
        from unnest(o.conkey) with ordinality k (attnum, place)
        join pg_attribute a on a.attrelid = o.conrelid and a.attnum = k.attnum),
       o.confmatchtype::text,
       obj_description(o.oid, 'pg_constraint'::name)
from pg_constraint o
join pg_class c on c.oid = o.conrelid
join pg_namespace n on n.oid = c.relnamespace
where o.contype = 'f' and o.conparentid = 0 and {side}
order by n.nspname, c.relname, o.conname
