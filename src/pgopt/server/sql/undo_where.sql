(chain, revision, operation) = ({key}) and was ->> 'setting' = any ({settings}::text[]) and (
    was ->> 'tree' = {tree}
    or was ->> 'relation' in (
        with recursive below as (
            select to_regclass({relation})::oid as oid
            union
            select i.inhrelid from pg_inherits i join below on i.inhparent = below.oid
        )
        select format('%I.%I', n.nspname, c.relname)
        from below join pg_class c on c.oid = below.oid join pg_namespace n on n.oid = c.relnamespace
    )
)
