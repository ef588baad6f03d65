-- The indexes of a table: how each is made anew on another one. To be read with an empty search path.
select c.relname, i.indisunique, pg_get_constraintdef(o.oid),
       substr(pg_get_indexdef(c.oid), length(format('CREATE %sINDEX %I ON %s%I.%I ', case when i.indisunique then 'UNIQUE ' else '' end,
              c.relname, case when t.relkind = 'p' then 'ONLY ' else '' end, n.nspname, t.relname)) + 1),
       array(select a.attname::text
             from unnest(i.indkey::int2[]) with ordinality k (attnum, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
             where k.place <= i.indnkeyatts order by k.place),
       (select array_agg(pg_get_indexdef(c.oid, k, false) order by k) from generate_series(1, i.indnkeyatts) k),
       pg_get_expr(i.indpred, i.indrelid),
       i.indnullsnotdistinct
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_class t on t.oid = i.indrelid
join pg_namespace n on n.oid = t.relnamespace
left join pg_constraint o on o.conindid = c.oid and o.contype in ('p', 'u')
where i.indrelid = {table} and i.indisvalid
order by o.contype is distinct from 'p', c.relname
