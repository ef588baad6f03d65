-- The ranges that hold all keys that are there and some ahead: a first one without a lower bound where a start is said.
with it as (
    select {by}::jsonb as by, {first}::text as first, {last}::text as last, {start}::text as start, {premake}::int as premake
),
now as (
    select it.*,
           case when by ->> 'kind' = 'time' then pgopt.key_at(by, now() at time zone (by ->> 'timezone')) else coalesce(last, '0') end
               as today
    from it
),
ends as (
    select now.*,
           case when by ->> 'kind' = 'time'
               then pgopt.key_at(by, greatest(pgopt.moment_of(by, today), pgopt.moment_of(by, coalesce(last, today)))
                                     + case when coalesce(pgopt.moment_of(by, last) <= pgopt.moment_of(by, today), true)
                                         then premake * (by ->> 'step')::interval else '0' end)
               else (today::numeric + premake * (by ->> 'step')::numeric)::text end as ahead
    from now
),
starts as (
    select ends.*,
           case when start is null then coalesce(first, today)
               when by ->> 'kind' = 'time' then pgopt.key_at(by, pgopt.moment_of(by, start)) else start end as low
    from ends
)
select 'before' as suffix, null as lower, p.lower as upper
from starts, lateral (select * from pgopt.periods(by, low, ahead) limit 1) p where start is not null
union all
select p.suffix, p.lower, p.upper from starts, lateral (select * from pgopt.periods(by, low, ahead) limit {most} + 1) p
