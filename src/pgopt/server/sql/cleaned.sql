-- Tables and materialized views of which another session holds the lock that VACUUM takes: of those with some oids, of those that are
-- wanted by name, and of those whose index is. Whether one may lock them is asked as LOCK TABLE asks, or by who owns a view.
with wanted as (
    select coalesce((select i.indrelid from pg_index i where i.indexrelid = to_regclass(name)), to_regclass(name)) as oid
    from unnest({names}::text[]) name
)
select distinct c.oid::int8, n.nspname, c.relname, c.relkind::text
from pg_locks l
join pg_class c on c.oid = l.relation and c.relkind in ('r', 'p', 'm')
join pg_namespace n on n.oid = c.relnamespace
where l.granted and l.locktype = 'relation' and l.mode = {mode} and l.pid <> pg_backend_pid()
    and l.database = (select oid from pg_database where datname = current_database())
    and (c.oid = any({oids}::oid[]) or c.oid in (select oid from wanted))
    and case c.relkind when 'm' then pg_has_role(c.relowner, 'usage') else has_table_privilege(c.oid, 'update, delete, truncate') end
order by 1
