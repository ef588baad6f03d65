-- what was set is read before it is changed, and the name before its lock is tried
with before as materialized (select {before}),
     about as materialized (select {what} as what, {along} as told)
select what, told, pg_try_advisory_lock({key}), before.*, {settings}
from before, about
