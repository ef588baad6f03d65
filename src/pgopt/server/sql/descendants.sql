select c.oid::int8, n.nspname, c.relname, c.relkind::text, b.inhparent::int8
from (
    with recursive below as (
        select i.inhrelid, i.inhparent, 1 as level from pg_inherits i where i.inhparent = {root} and not i.inhdetachpending
        union all
        select i.inhrelid, i.inhparent, b.level + 1
        from pg_inherits i join below b on i.inhparent = b.inhrelid and not i.inhdetachpending
    )
    -- a child of several parents comes after all of them
    select distinct on (inhrelid) inhrelid, inhparent, level from below order by inhrelid, level desc
) b
join pg_class c on c.oid = b.inhrelid
join pg_namespace n on n.oid = c.relnamespace
order by b.level, n.nspname, c.relname
