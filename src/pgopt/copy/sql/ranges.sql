-- The ranges that hold all keys that are there and some ahead: a first one without a lower bound where a start is said.
with it as (
    select {by}::jsonb as by, {first}::text as first, {last}::text as last, pgopt.key_said({by}, {start}) as start,
           pgopt.today({by}, {last}) as today, pgopt.later({by}, pgopt.today({by}, {last}), {premake}) as ahead
),
ends as (
    select by, start is not null as has_start,
           case when start is null then coalesce(first, today) when by ->> 'kind' = 'int' then start
               else pgopt.key_at(by, pgopt.moment_of(by, start)) end as low,
           case when last is not null and pgopt.precedes(by, ahead, last) then last else ahead end as high
    from it
)
select 'before' as suffix, null as lower, p.lower as upper
from ends, lateral pgopt.periods(by, low, high, 1) p where has_start and p.lower <> 'MINVALUE'
union all
select p.suffix, p.lower, p.upper from ends, lateral pgopt.periods(by, low, high, {most} + 1) p
