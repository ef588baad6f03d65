with first as materialized (
    select q.n from {queue} q
    where q.n operator(pg_catalog.>) $1 and q.n operator(pg_catalog.<=) $2 and q.k1 is not null
    order by q.n limit $3 for update skip locked
),
gone as (delete from {queue} q using first s where q.n operator(pg_catalog.=) s.n returning q.*)
select {gathered}, pg_catalog.max(d.n), pg_catalog.min(d.at) into {taken}, pgopt_last, pgopt_at
from (select {names}, pg_catalog.max(g.n) as n, pg_catalog.min(g.at) as at from gone g group by {names}) d;
if pgopt_last is null then
    return null;
end if;
-- nobody waits for rows that somebody else holds: they are for the next time
with looked as materialized (
    select k.*, (select pg_catalog.count(*) from {target} t where {match}) operator(pg_catalog.=)
                (select pg_catalog.count(*) from (select from {target} t where {match} for no key update skip locked) l) as free
    from {rows} k ({names})
)
select {free}, {held} into {taken}, {busy} from looked d;
if {first_busy} is not null then
    insert into {queue} ({names}, at) select b.*, pgopt_at from {busy_rows} b;
end if;
if {first_taken} is not null then
    -- read by a function of the row, which is called again where it was written since this statement began
    update {target} t set ({columns}) = (select v.* from {value}({of_row}) v) from {rows} k ({names}) where {match};
end if;
return pgopt_last;
