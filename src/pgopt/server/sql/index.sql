select c.oid::int8, n.nspname, c.relname, c.relkind::text,
       (select h.inhparent::int8 from pg_inherits h where h.inhrelid = c.oid),
       i.indrelid::int8,
       i.indisvalid,
       obj_description(c.oid, 'pg_class'::name),
       (select o.conname from pg_constraint o where o.conindid = c.oid and o.contype in ('p', 'u', 'x')),
       i.indisreplident,
       i.indisclustered,
       pg_get_indexdef(c.oid),
       -- of another role's session the server shows the process alone, and which locks it has
       (select p.pid from pg_stat_progress_create_index p
        where p.index_relid = c.oid
           or (p.relid is null and exists (select from pg_locks l where l.pid = p.pid and l.relation = i.indrelid and l.granted
                                             and l.mode = 'ShareUpdateExclusiveLock'
                                             and l.database = (select d.oid from pg_database d where d.datname = current_database())))
        limit 1),
       (select min(o.conrelid::regclass::text) from pg_constraint o where o.conindid = c.oid and o.contype = 'f'),
       exists (select from pg_attribute a where a.attrelid = c.oid and a.attstattarget >= 0),
       i.indisunique,
       (select string_agg(o, ', ') from unnest(c.reloptions) o),
       (select t.spcname from pg_tablespace t where t.oid = c.reltablespace),
       (select min(e.extname) from pg_depend d join pg_extension e on e.oid = d.refobjid
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'x')
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where c.oid = {index}
