-- Why an UPDATE of a table would do nothing, or be refused for all rows.
select format('rule %I does something else instead of an UPDATE: drop or disable it first', rulename)
from pg_rewrite
where ev_class = {table} and ev_type = '2' and is_instead and ev_enabled in ('O', 'A')
union all
select format('publication %I publishes its updates, and it has no replica identity: ALTER TABLE ... REPLICA IDENTITY FULL first', p.pubname)
from pg_publication p
join pg_publication_tables t on t.pubname = p.pubname
join pg_namespace n on n.nspname = t.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
cross join (select relreplident as identity from pg_class where oid = {table}) it
where p.pubupdate
  and c.oid in (select relid from pg_partition_ancestors({table}) union select {table})
  and (
      identity = 'n'
      or identity = 'd' and not exists (select from pg_index where indrelid = {table} and indisprimary)
      or identity = 'i' and not exists (select from pg_index where indrelid = {table} and indisreplident)
  )
