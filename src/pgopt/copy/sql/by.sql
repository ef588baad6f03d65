-- By what a table is partitioned by ranges: the first way of which all of its ranges are whole periods.
with ranges as materialized (select ends[1] as low, ends[2] as high from pgopt.ranges_of({table})
                             where ends[1] <> 'MINVALUE' and ends[2] <> 'MAXVALUE')
select w.way::text
from unnest({ways}::jsonb[]) with ordinality w (way, place)
where exists (select from ranges) and not exists (
    select from ranges r
    where not exists (select from pgopt.periods(w.way, r.low, r.low) p
                      where pgopt.place(w.way, p.lower) = pgopt.place(w.way, r.low)
                        and pgopt.place(w.way, p.upper) = pgopt.place(w.way, r.high)))
order by w.place limit 1
