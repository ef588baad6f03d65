-- what was set is read before it is changed, all is changed before the name's lock is tried, and what can fail has not failed then;
-- `offset 0` keeps the server from taking one into the other, as `materialized` does, and is planned in a third of the time
select what, told, pg_try_advisory_lock({key}), before
from (select before, {settings} from (select array[{before}] as before offset 0) a offset 0) now,
     lateral (select {what} as what, {along} as told offset 0) about
