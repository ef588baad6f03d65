-- What pg_dump would tell, in one query, and what it would not: whether an index is valid, and locks left behind.
with mine as (
    select c.* from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_(catalog|toast|temp)' and n.nspname <> 'information_schema' and c.relname !~ '^alembic_version'
)
select 'relation' as what, c.oid::regclass::text as name,
       jsonb_build_array(c.relkind, c.relpersistence, c.reloptions, c.relacl::text, c.relowner::regrole, c.relreplident,
                         c.relrowsecurity, c.relispartition, pg_get_expr(c.relpartbound, c.oid), c.reltablespace,
                         pg_get_partkeydef(c.oid), obj_description(c.oid, 'pg_class'))::text as said
from mine c
union all
select 'index', i.indexrelid::regclass::text,
       jsonb_build_array(pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready, i.indislive, i.indisclustered,
                         i.indisreplident, i.indimmediate,
                         (select array_agg(h.inhparent::regclass::text) from pg_inherits h where h.inhrelid = i.indexrelid))::text
from pg_index i join mine c on c.oid = i.indexrelid
union all
select 'left behind', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
from pg_index i join pg_class c on c.oid = i.indexrelid
where c.relname ~ '_cc(new|old)[0-9]*$' or (c.relnamespace = 'pg_toast'::regnamespace and not i.indisvalid)
union all
-- by its place, since numbers of columns that were dropped are not given again
select 'column', a.attrelid::regclass || '.' || rank() over (partition by a.attrelid order by a.attnum),
       jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                         pg_get_expr(d.adbin, d.adrelid), a.attstorage, a.attcompression, a.attstattarget,
                         (select array_agg(o) from unnest(a.attoptions) o where o !~ '^pg_attver='),
                         a.attacl::text, a.attcollation::regcollation, col_description(a.attrelid, a.attnum))::text
from pg_attribute a join mine c on c.oid = a.attrelid
left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
where a.attnum > 0 and not a.attisdropped
union all
select 'constraint', o.conname || ' of ' || o.conrelid::regclass,
       jsonb_build_array(pg_get_constraintdef(o.oid), o.convalidated, o.conislocal, o.coninhcount,
                         obj_description(o.oid, 'pg_constraint'))::text
from pg_constraint o join mine c on c.oid = o.conrelid where o.contype <> 'f' or o.conparentid = 0
union all
-- of foreign keys of and to partitions pg_dump tells nothing: the server makes their names up, and before 18 validates the whole alone
select 'foreign key below', p.conname || ' of ' || o.conrelid::regclass,
       regexp_replace(pg_get_constraintdef(o.oid), ' NOT VALID$', '')
from pg_constraint o join mine c on c.oid = o.conrelid join pg_constraint p on p.oid = o.conparentid where o.contype = 'f'
union all
select 'trigger', t.tgname || ' on ' || t.tgrelid::regclass, jsonb_build_array(pg_get_triggerdef(t.oid), t.tgenabled)::text
from pg_trigger t join mine c on c.oid = t.tgrelid where not t.tgisinternal
union all
select 'view', c.oid::regclass::text, pg_get_viewdef(c.oid) from mine c where c.relkind in ('v', 'm')
union all
select 'function', p.oid::regprocedure::text, jsonb_build_array(pg_get_functiondef(p.oid), p.proacl::text)::text
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname !~ '^pg_(catalog|toast|temp)' and n.nspname <> 'information_schema' and p.prokind in ('f', 'p')
  and not exists (select from pg_depend e where e.objid = p.oid and e.deptype = 'e')
union all
select 'parent', h.inhrelid::regclass::text, jsonb_build_array(h.inhparent::regclass, h.inhdetachpending)::text
from pg_inherits h join mine c on c.oid = h.inhrelid
union all
select 'sequence', s.seqrelid::regclass::text, (to_jsonb(s) - 'seqrelid')::text from pg_sequence s join mine c on c.oid = s.seqrelid
union all
select 'policy', p.polname || ' on ' || p.polrelid::regclass,
       jsonb_build_array(p.polcmd, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))::text
from pg_policy p join mine c on c.oid = p.polrelid
union all
select 'statistics', s.stxname, pg_get_statisticsobjdef(s.oid) from pg_statistic_ext s join mine c on c.oid = s.stxrelid
union all
select 'schema', n.nspname, coalesce(n.nspacl::text, '') from pg_namespace n where n.nspname !~ '^pg_t'
union all
select 'extension', e.extname, e.extversion from pg_extension e
union all
select 'advisory lock', l.pid::text, l.objid::text
from pg_locks l join pg_database d on d.oid = l.database
where l.locktype = 'advisory' and d.datname = current_database()
order by 1, 2, 3
