-- The partitions of a table, with their bounds.
select c.oid::int8, c.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid), h.inhdetachpending
from pg_inherits h
join pg_class c on c.oid = h.inhrelid
where h.inhparent = {table}
order by c.oid
