do {tag}
declare
    remembered jsonb;
    statement text;
begin
    delete from pgopt.undo where {where} returning was into remembered;
    if not found then
        return;
    end if;
    for statement in
        with now (schema, name, target) as ({targets}), memory as (
            select e.value, e.place from jsonb_array_elements(remembered) with ordinality e (value, place)
        )
        select format('alter table only %I.%I alter column %I set statistics %s',
                      now.schema, now.name, {column}::text, coalesce(was.target, -1))
        from now
        cross join lateral (
            -- a partition that is younger than the memory is given what the last of the others had
            select (m.value ->> 2)::int as target
            from memory m
            order by (m.value ->> 0, m.value ->> 1) = (now.schema::text, now.name::text) desc, m.place desc
            limit 1
        ) was
        where now.target is distinct from was.target
    loop
        execute statement;
    end loop;
end
{tag}
