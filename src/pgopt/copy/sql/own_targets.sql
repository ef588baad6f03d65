-- The statistics targets of the columns of a materialized view, for the ANALYZE of the one that takes its place.
select a.attname, a.attstattarget
from pg_attribute a
where a.attrelid = {view} and a.attnum > 0 and not a.attisdropped and a.attstattarget >= 0
order by a.attnum
