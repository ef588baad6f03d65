-- Where the partition of all that is there ends: so many whole periods away; and whether one that was chosen before is still at
-- least one away.
select (select pgopt.later({by}, lower, {ahead} + 1) from pgopt.periods({by}, today, today)),
       {chosen} is not null and pgopt.precedes({by}, pgopt.later({by}, today, 1), {chosen})
from pgopt.today({by}, {last}) today
