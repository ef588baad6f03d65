select format('%I.%I', n.nspname, c.relname), wanted.name,
       (
           select substr(o, strpos(o, '=') + 1)
           from unnest(case when wanted.name like 'toast.%' then t.reloptions else c.reloptions end) o
           where split_part(o, '=', 1) = regexp_replace(wanted.name, '^toast[.]', '')
       ),
       jsonb_build_object('options', coalesce(to_jsonb(c.reloptions), '[]'), 'toast', coalesce(to_jsonb(t.reloptions), '[]'))
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_class t on t.oid = c.reltoastrelid
cross join unnest({names}::text[]) wanted (name)
where c.relkind in ('r', 'm', 'i')
  and c.oid in (select relid from pg_partition_tree(to_regclass({relation})) union select to_regclass({relation}))
