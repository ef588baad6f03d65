select format('%I.%I', n.nspname, c.relname), a.attname::text, nullif(a.attstattarget, -1)::text
from (
    with recursive tree as (
        select to_regclass({relation})::oid as relation
        union
        select i.inhrelid from pg_inherits i join tree on i.inhparent = tree.relation
    )
    select relation from tree
) tree
join pg_attribute a on a.attrelid = tree.relation and a.attname = {column} and not a.attisdropped
join pg_class c on c.oid = tree.relation
join pg_namespace n on n.oid = c.relnamespace
