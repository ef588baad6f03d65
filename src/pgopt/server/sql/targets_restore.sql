do {tag}
declare
    remembered jsonb;
    statement text;
begin
    with gone as (delete from pgopt.undo where {where} returning was)
    select jsonb_agg(was) into remembered from gone;
    if remembered is null then
        return;
    end if;
    for statement in
        with now (relation, setting, target) as ({targets}), memory as (
            select e ->> 'relation' as relation, (e ->> 'value')::int as target, e ->> 'tree' = {tree} as of_tree
            from jsonb_array_elements(remembered) e
        ), of_last as (
            -- what a partition is given that is younger than the memory: what the last of the others had
            select target from memory order by of_tree desc, relation collate "C" desc limit 1
        ), given as (
            select now.relation, now.target as is_now, case when m.relation is null then l.target else m.target end as target
            from now
            cross join of_last l
            left join memory m using (relation)
        )
        select format('alter table only %s alter column %I set statistics %s', relation, {column}::text, coalesce(target, -1))
        from given
        where is_now is distinct from target::text
    loop
        execute statement;
    end loop;
end
{tag}
