-- How a materialized view is made: access method, storage parameters, tablespace, whether it is filled, and its owner.
select m.amname, t.spcname, c.relispopulated, pg_get_userbyid(c.relowner)
from pg_class c
join pg_am m on m.oid = c.relam
left join pg_tablespace t on t.oid = c.reltablespace
where c.oid = {view}
