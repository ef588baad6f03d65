-- what was set is read before it is changed, all is changed before the name's lock is tried, and what can fail has not failed then
with before as materialized (select {before}),
     now as materialized (select before.*, {settings} from before),
     about as materialized (select {what} as what, {along} as told from now)
select what, told, pg_try_advisory_lock({key}), now.*
from now, about
