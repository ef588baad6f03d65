do {tag}
declare
    remembered jsonb;
    statement text;
begin
    with gone as (delete from pgopt.undo where {where} returning was, at)
    select jsonb_agg(was order by at) into remembered from gone;
    if remembered is null then
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
            select e.value ->> 'relation' as name, e.value ->> 'setting' as setting, e.value ->> 'value' as value,
                   e.value -> 'beside' as beside, e.value ->> 'tree' = {tree} as of_tree, e.place
            from jsonb_array_elements(remembered) with ordinality e (value, place)
        ), of_last as (
            -- what a partition is given that is younger than the memory: what the last of the others had
            select distinct on (setting) setting, value from memory order by setting, of_tree desc, name collate "C" desc
        ), given as (
            select leaf.name, l.setting as key, case when m.name is null then l.value else m.value end as value
            from leaf
            cross join of_last l
            left join memory m on (m.name, m.setting) = (leaf.name, l.setting)
        ), first as (
            select distinct on (name) name, beside from memory order by name, place
        ), before as (
            -- the order in which a leaf had its parameters, since a dump shows it
            select leaf.name, coalesce(
                first.beside,
                (select beside from memory order by of_tree desc, memory.name collate "C" desc, place limit 1)
            ) as beside
            from leaf
            left join first using (name)
        ), now as (
            select name, side.prefix || split_part(o, '=', 1) as key, substr(o, strpos(o, '=') + 1) as value, place
            from leaf
            cross join lateral (values ('', leaf.options), ('toast.', leaf.toast)) side (prefix, options)
            cross join lateral unnest(side.options) with ordinality x (o, place)
        ), place as (
            select name, key, min(place) as place
            from (
                select name, side.prefix || split_part(o, '=', 1) as key, place
                from before
                cross join lateral (values ('', 'options'), ('toast.', 'toast')) side (prefix, part)
                cross join lateral jsonb_array_elements_text(beside -> side.part) with ordinality x (o, place)
                union all
                select name, key, 1000 + place from now
                union all
                select name, key, 2000 from given
            ) each
            group by name, key
        ), parameter as (
            select name, key, place.place, now.key is not null as is_now,
                   case when given.key is null then now.value else given.value end as value
            from place
            left join now using (name, key)
            left join given using (name, key)
        ), clause as (
            select name, value is null as is_reset,
                   string_agg(
                       case when key like 'toast.%' then 'toast.' else '' end || quote_ident(regexp_replace(key, '^toast[.]', ''))
                           || coalesce(' = ' || quote_literal(value), ''),
                       ', ' order by key like 'toast.%', place
                   ) as said
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
