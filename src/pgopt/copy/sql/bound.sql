-- Where the partition of all that is there ends: so many whole periods away, and nowhere where the type ends before; and whether one
-- that was chosen before is still at least one away.
select (select pgopt.later({by}, upper, {ahead}) from pgopt.periods({by}, today, today)
        where upper <> 'MAXVALUE'
          and coalesce(pgopt.place({by}, pgopt.later({by}, upper, {ahead})) <= ({by}::jsonb ->> 'most')::numeric, true)),
       {chosen} is not null and pgopt.precedes({by}, pgopt.later({by}, today, 1), {chosen})
from pgopt.today({by}, {last}) today
