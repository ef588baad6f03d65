select jsonb_agg(
    jsonb_build_object(
        'relation', format('%I.%I', n.nspname, c.relname),
        'options', coalesce(to_jsonb(c.reloptions), '[]'),
        'toast', coalesce(to_jsonb(t.reloptions), '[]')
    ) order by n.nspname, c.relname
)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_class t on t.oid = c.reltoastrelid
where c.relkind in ('r', 'm', 'i')
  and c.oid in (select relid from pg_partition_tree(to_regclass({relation})) union select to_regclass({relation}))
