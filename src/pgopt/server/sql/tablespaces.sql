select t.spcname, coalesce(nullif(current_setting('default_tablespace'), ''), t.spcname)
from pg_database d
join pg_tablespace t on t.oid = d.dattablespace
where d.datname = current_database()
