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
        with leaf as (
            select format('%I.%I', n.nspname, c.relname) as name, c.reloptions as options, t.reloptions as toast
            from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            left join pg_class t on t.oid = c.reltoastrelid
            where c.relkind in ('r', 'm', 'i')
              and c.oid in (select relid from pg_partition_tree(to_regclass({relation})) union select to_regclass({relation}))
        ), memory as (
            select e.value ->> 'relation' as name, e.value -> 'options' as options, e.value -> 'toast' as toast, e.place
            from jsonb_array_elements(remembered) with ordinality e (value, place)
        ), parameter as (
            -- all that a leaf has, in the order in which it had it, since a dump shows the order;
            -- a partition that is younger than the memory is given what the last of the others had
            select leaf.name, side.prefix, each.key, each.place, each.is_now,
                   case when side.prefix || each.key = any ({names}::text[]) then each.was else each.now end as value
            from leaf
            cross join lateral (
                select * from memory order by memory.name = leaf.name desc, memory.place desc limit 1
            ) m
            cross join lateral (values ('', leaf.options, m.options), ('toast.', leaf.toast, m.toast)) side (prefix, now, was)
            cross join lateral (
                select key, w.value as was, n.value as now, n.key is not null as is_now, coalesce(w.place, 1000 + n.place) as place
                from (
                    select split_part(o, '=', 1) as key, substr(o, strpos(o, '=') + 1) as value, x.place
                    from jsonb_array_elements_text(side.was) with ordinality x (o, place)
                ) w
                full join (
                    select split_part(o, '=', 1) as key, substr(o, strpos(o, '=') + 1) as value, x.place
                    from unnest(side.now) with ordinality x (o, place)
                ) n using (key)
            ) each
        ), clause as (
            select name, value is null as is_reset,
                   string_agg(format('%s%I', prefix, key) || coalesce(' = ' || quote_literal(value), ''), ', ' order by prefix, place) as said
            from parameter
            where value is not null or is_now
            group by name, value is null
        )
        select format('alter table %s %s', name,
                      string_agg(case when is_reset then 'reset' else 'set' end || ' (' || said || ')', ', ' order by is_reset desc))
        from clause
        group by name
        order by name
    loop
        execute statement;
    end loop;
end
{tag}
