-- What stands against keeping columns of one table from another.
select 'is partitioned: only aggregates and deferred columns can be kept from it'
from pg_class where oid = {table} and relkind = 'p' and not {may_be_partitioned}
union all
select 'is a partition: triggers would not see statements on the whole table' from pg_class where oid = {table} and relispartition
union all
select 'is a materialized view, which has no triggers' from pg_class where oid = {table} and relkind = 'm'
union all
select 'is in an inheritance tree: triggers would not see statements on its other tables'
from pg_class where oid = {table} and relkind = 'r' and not relispartition
    and exists (select from pg_inherits where {table} in (inhrelid, inhparent))
union all
select 'has row level security for this role, which would hide rows: let the owner of the table do it'
where row_security_active({table})
union all
select format('has the partition %s with row level security for this role, which would hide rows: let the owner of the table do it', relid)
from pg_partition_tree({table}) where relid <> {table} and row_security_active(relid)
union all
-- found in the middle, the triggers that are there already would refuse what the application writes
select format('is %s, and gets triggers: GRANT %s ON TABLE %s TO %I', case when {is_written} then 'written to' else 'read' end,
              string_agg(needed, ', ' order by needed), oid::regclass, current_user)
from (select {table}::oid as oid union select relid from pg_partition_tree({table})) t, unnest(array['SELECT', 'TRIGGER', 'UPDATE']) needed
where case needed when 'TRIGGER' then not has_table_privilege(oid, needed) else not has_any_column_privilege(oid, needed) end
    and (needed <> 'UPDATE' or {is_written})
group by oid
union all
-- what is written to the target fires triggers, with the rights of whoever has made ours
select format('belongs to %I, whose triggers would run with the rights of the superuser %I: SET ROLE %1$I before', o.rolname, me.rolname)
from pg_class c join pg_roles o on o.oid = c.relowner join pg_roles me on me.rolname = current_user
where c.oid = {table} and {is_written} and me.rolsuper and not o.rolsuper
union all
select format('has the partition %s, which is a foreign table: its triggers would not see what is written there', relid::regclass)
from pg_partition_tree({table}) join pg_class c on c.oid = relid where c.relkind = 'f'
union all
select format('has the rule %I, which does something else instead of an UPDATE: drop it first', rulename)
from pg_rewrite where ev_class = {table} and ev_type = '2' and is_instead
union all
select format('has the partition %s with the rule %I, which does something else instead of an UPDATE: drop it first', relid, rulename)
from pg_partition_tree({table}) join pg_rewrite on ev_class = relid where relid <> {table} and ev_type = '2' and is_instead
