#variable_conflict use_column
begin
    with gone as (delete from {queue} q where q.k1 is null returning q.at)
    insert into {queue} ({names}, at)
        select distinct {keys}, (select min(g.at) from gone g) from {target} t
        where exists (select from gone) and {known} and {some};
    return (select max(q.n) from {queue} q);
end
