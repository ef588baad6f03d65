create table pgopt.split (
    whole regclass primary key,
    parent regclass not null,
    name text not null,
    bound text not null,
    pieces regclass[] not null,
    said jsonb not null,
    at timestamptz not null default now()
);
comment on table pgopt.split is 'partitions that were split into others';
comment on column pgopt.split.whole is 'the table that the partition was: empty, and the one that it will be again when the pieces are merged';
comment on column pgopt.split.bound is 'what it was a partition for';

create function pgopt.bound_of(part regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
as $$
select pg_get_expr(c.relpartbound, c.oid) from pg_class c where c.oid = part
$$;
comment on function pgopt.bound_of is 'the bounds of a partition, in words that mean the same in each session';

create function pgopt.next_key(part regclass, col text, from_key text, direction text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
as $$
declare
    answer text;
begin
    execute format(
        'select t.%1$I::text from only %2$s t where t.%1$I::text not in (''infinity'', ''-infinity'', ''NaN'') %3$s order by t.%1$I %4$s limit 1',
        col, part, case when from_key is not null then format('and t.%I >= %L', col, from_key) end, direction
    ) into answer;
    return answer;
end
$$;
comment on function pgopt.next_key is 'the least or the greatest key of a partition, from one on where that is said';

create function pgopt.pieces_of_range(part regclass, by jsonb, start text, lowest text, highest text, most integer)
returns table (suffix text, lower text, upper text)
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
as $$
#variable_conflict use_column
declare
    first text := coalesce(pgopt.key_said(by, start), nullif(lowest, 'MINVALUE'), pgopt.next_key(part, by ->> 'column', null, 'asc'),
                           pgopt.today(by, null));
    last text := coalesce(nullif(highest, 'MAXVALUE'), pgopt.next_key(part, by ->> 'column', null, 'desc'), first);
    bottom numeric := pgopt.place(by, lowest);
    top numeric := pgopt.place(by, highest);
begin
    return query
        with period as materialized (
            select p.*, pgopt.place(by, p.lower) as low, pgopt.place(by, p.upper) as high
            from pgopt.periods(by, first, last, most + 1) p
        )
        select 'before', lowest, (select p.lower from period p order by p.low limit 1)
        where bottom < (select min(p.low) from period p)
        union all
        select p.suffix, case when p.low < bottom then lowest else p.lower end,
               case when p.high > top then highest else p.upper end
        from period p where p.low < top and p.high > bottom
        union all
        select 'after', (select p.upper from period p order by p.high desc limit 1), highest
        where top > (select max(p.high) from period p);
end
$$;
comment on function pgopt.pieces_of_range is 'the periods of a partition that is a range, which hold all of it';

create function pgopt.pieces_of_default(parent regclass, part regclass, by jsonb, most integer)
returns table (suffix text, lower text, upper text)
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
as $$
#variable_conflict use_column
declare
    key text := pgopt.next_key(part, by ->> 'column', null, 'asc');
    it record;
    low text;
    high text;
begin
    while key is not null and most >= 0 loop
        select * into it from pgopt.periods(by, key, key);
        -- of a period that others have in part, what is free around the key
        select coalesce(max(b.ends[2]) filter (where pgopt.place(by, b.ends[2]) = b.nearest), it.lower) into low
        from (select b.ends, max(pgopt.place(by, b.ends[2])) over () as nearest from pgopt.ranges_of(parent) b
              where pgopt.place(by, b.ends[2]) > pgopt.place(by, it.lower) and pgopt.place(by, b.ends[2]) <= pgopt.place(by, key)) b;
        select coalesce(max(b.ends[1]) filter (where pgopt.place(by, b.ends[1]) = b.nearest), it.upper) into high
        from (select b.ends, min(pgopt.place(by, b.ends[1])) over () as nearest from pgopt.ranges_of(parent) b
              where pgopt.place(by, b.ends[1]) < pgopt.place(by, it.upper) and pgopt.place(by, b.ends[1]) > pgopt.place(by, key)) b;
        return query select it.suffix, low, high;
        most := most - 1;
        key := case when high <> 'MAXVALUE' then pgopt.next_key(part, by ->> 'column', high, 'asc') end;
    end loop;
end
$$;
comment on function pgopt.pieces_of_default is 'the periods of the rows that are in a default partition, where no other partition is';

create function pgopt.ranges_of(parent regclass) returns table (partition regclass, ends text[])
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
as $$
select c.oid::regclass, b
from pg_inherits h
join pg_class c on c.oid = h.inhrelid
join lateral regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM [(]''?([^'')]+)''?[)] TO [(]''?([^'')]+)''?[)]$') b on b is not null
where h.inhparent = parent
$$;
comment on function pgopt.ranges_of is 'the partitions of a table that are ranges, with their ends';

revoke all on all functions in schema pgopt from public;
