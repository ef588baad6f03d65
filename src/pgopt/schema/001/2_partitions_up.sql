create table pgopt.partitioned (
    relation regclass primary key,
    by jsonb not null,
    premake integer not null,
    was jsonb not null,
    plain regclass,
    attached boolean not null default false,
    at timestamptz not null default now(),
    keep text,
    on_expiry text check (on_expiry in ('detach', 'drop', 'archive')),
    archive_schema text
);
comment on table pgopt.partitioned is 'partitioned tables: by what, how far ahead, and what they were before';
comment on column pgopt.partitioned.plain is 'the table that it was: kept beside it until that is final, or its first partition';
comment on column pgopt.partitioned.keep is 'how long rows are kept, or how many numbers behind the greatest; what is older is taken out as on_expiry says';

create table pgopt.copy (
    source regclass primary key,
    target regclass not null,
    log regclass not null,
    key text[] not null,
    ready boolean not null default false,
    started_at timestamptz not null default now()
);
comment on table pgopt.copy is 'tables that are copied to another, or kept equal to it, by the log of their changes';

create function pgopt.moment_of(by jsonb, value text) returns timestamp
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
select case by ->> 'type'
    when 'date' then value::timestamp
    when 'timestamp without time zone' then value::timestamp
    when 'timestamp with time zone' then value::timestamptz at time zone (by ->> 'timezone')
    when 'uuid' then
        to_timestamp(('x' || left(replace(value, '-', ''), 12))::bit(48)::bigint / 1000.0) at time zone (by ->> 'timezone')
    else to_timestamp(value::numeric / (by ->> 'per_second')::numeric) at time zone (by ->> 'timezone')
end
$$;
comment on function pgopt.moment_of is 'the local time that a value of the partition key stands for';

create function pgopt.key_at(by jsonb, moment timestamp) returns text
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
select case by ->> 'type'
    when 'date' then moment::date::text
    when 'timestamp without time zone' then moment::text
    when 'timestamp with time zone' then (moment at time zone (by ->> 'timezone'))::text
    when 'uuid' then
        rpad(lpad(to_hex((extract(epoch from moment at time zone (by ->> 'timezone')) * 1000)::bigint), 12, '0'), 32, '0')::uuid::text
    else round(extract(epoch from moment at time zone (by ->> 'timezone')) * (by ->> 'per_second')::numeric)::bigint::text
end
$$;
comment on function pgopt.key_at is 'the least value of the partition key at a local time';

create function pgopt.key_said(by jsonb, said text) returns text
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
select case
    when (by ->> 'type' = 'uuid' and said !~* '^[{]?([0-9a-f]{4}-?){8}[}]?$') or (by ->> 'type' = 'bigint' and said !~ '^[[:space:]]*-?[0-9]+[[:space:]]*$')
        then pgopt.key_at(by, said::timestamptz at time zone (by ->> 'timezone'))
    else said
end
$$;
comment on function pgopt.key_said is 'a value of the partition key, which may be said as an instant where it is none';

create function pgopt.periods(by jsonb, first text, last text, most integer default 2147483647)
returns table (suffix text, lower text, upper text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    shift interval := coalesce(by ->> 'shift', '0')::interval;
    step interval;
    start timestamp;
    size numeric;
    number numeric;
    -- no bound may be beyond what the type holds
    bottom constant numeric := coalesce((by ->> 'least')::numeric, '-infinity');
    top constant numeric := coalesce((by ->> 'most')::numeric, 'infinity');
begin
    if by ->> 'kind' = 'int' then
        size := (by ->> 'step')::numeric;
        number := greatest(first::numeric, bottom);
        -- not by a quotient, which is rounded
        number := number - mod(number, size) - case when mod(number, size) < 0 then size else 0 end;
        for i in 1 .. most loop
            exit when number > least(last::numeric, top);
            return query select replace(trim_scale(number)::text, '-', 'm'),
                case when number < bottom then 'MINVALUE' else trim_scale(number)::text end,
                case when number + size > top then 'MAXVALUE' else trim_scale(number + size)::text end;
            number := number + size;
        end loop;
        return;
    end if;
    step := (by ->> 'step')::interval;
    start := date_trunc(by ->> 'unit', pgopt.moment_of(by, first) + shift) - shift;
    for i in 1 .. most loop
        exit when start > pgopt.moment_of(by, last);
        return query select to_char(start, by ->> 'suffix'), pgopt.key_at(by, start), pgopt.key_at(by, start + step);
        start := start + step;
    end loop;
end
$$;
comment on function pgopt.periods is 'the partitions that hold the keys from the first to the last, with their bounds; no more than said';

create function pgopt.later(by jsonb, value text, periods integer) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if by ->> 'kind' = 'int' then
        return trim_scale(value::numeric + periods * (by ->> 'step')::numeric);
    end if;
    return pgopt.key_at(by, pgopt.moment_of(by, value) + periods * (by ->> 'step')::interval);
end
$$;
comment on function pgopt.later is 'the partition key so many periods after a value';

create function pgopt.precedes(by jsonb, one text, other text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if by ->> 'kind' = 'int' then
        return one::numeric <= other::numeric;
    end if;
    return pgopt.moment_of(by, one) <= pgopt.moment_of(by, other);
end
$$;
comment on function pgopt.precedes is 'whether a value of the partition key comes before another, or is the same';

create function pgopt.today(by jsonb, last text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if by ->> 'kind' = 'int' then
        return coalesce(last, '0');
    end if;
    return pgopt.key_at(by, now() at time zone (by ->> 'timezone'));
end
$$;
comment on function pgopt.today is 'where the partition key has come to: to now, or to the greatest number';

create function pgopt.partition_name(name text, suffix text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
    whole text := name || '_p' || suffix;
    base text := name;
begin
    if octet_length(whole) > 63 then
        loop
            base := left(base, -1);
            whole := base || '_' || left(md5(name), 8) || '_p' || suffix;
            exit when octet_length(whole) <= 63 or base = '';
        end loop;
    end if;
    return whole;
end
$$;
comment on function pgopt.partition_name is 'the name of a partition, at most 63 bytes';

create function pgopt.place(by jsonb, value text) returns numeric
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if value in ('MINVALUE', 'MAXVALUE') then
        return case value when 'MINVALUE' then '-infinity' else 'infinity' end;
    end if;
    if by ->> 'kind' = 'int' then
        return value::numeric;
    end if;
    return extract(epoch from pgopt.moment_of(by, value));
end
$$;
comment on function pgopt.place is 'a number by which values of the partition key are in order';

create function pgopt.partitions_of(parent regclass)
returns table (partition regclass, lower text, upper text, low numeric, high numeric)
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
select c.oid::regclass, b[1], b[2], pgopt.place(p.by, b[1]), pgopt.place(p.by, b[2])
from pgopt.partitioned p
join pg_inherits h on h.inhparent = p.relation and not h.inhdetachpending
join pg_class c on c.oid = h.inhrelid
left join lateral regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM [(]''?([^'')]+)''?[)] TO [(]''?([^'')]+)''?[)]$') b on true
where p.relation = parent and p.by ->> 'kind' in ('time', 'int')
$$;
comment on function pgopt.partitions_of is 'the partitions of a table with their bounds; the default has none';

create function pgopt.reached(parent regclass) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set row_security = off
as $$
declare
    rule pgopt.partitioned;
    last text;
begin
    select * into rule from pgopt.partitioned p where p.relation = parent;
    if rule."by" ->> 'kind' = 'int' then
        execute format('select max(%I)::text from %s', rule."by" ->> 'column', parent) into last;
    end if;
    return pgopt.today(rule."by", last);
end
$$;
comment on function pgopt.reached is 'where the partition key of a table has come to';

create function pgopt.kept_from(rule pgopt.partitioned, today text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if rule."by" ->> 'kind' = 'int' then
        return (today::numeric - rule.keep::numeric)::text;
    end if;
    return pgopt.key_at(rule."by", pgopt.moment_of(rule."by", today) - rule.keep::interval);
end
$$;
comment on function pgopt.kept_from is 'the partition key before which a rule keeps nothing';

create function pgopt.missing_partitions(parent regclass)
returns table (name text, lower text, upper text)
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
declare
    rule pgopt.partitioned;
    today text := pgopt.reached(parent);
    first text;
    until text;
    -- as many as partition_table makes at most
    longest text;
begin
    select * into rule from pgopt.partitioned p where p.relation = parent;
    until := pgopt.later(rule."by", today, rule.premake);
    longest := pgopt.later(rule."by", until, -1000);
    select p.lower into first from pgopt.partitions_of(parent) p where p.low > '-infinity' order by p.low limit 1;
    if first is null or pgopt.precedes(rule."by", today, first) then
        first := today;
    end if;
    if rule.keep is not null and pgopt.precedes(rule."by", first, pgopt.kept_from(rule, today)) then
        first := pgopt.kept_from(rule, today);
    end if;
    if pgopt.precedes(rule."by", first, longest) then
        first := longest;
    end if;
    return query
        with there as materialized (select * from pgopt.partitions_of(parent)),
        period as (
            select p.*, pgopt.place(rule."by", p.lower) as low, pgopt.place(rule."by", p.upper) as high
            from pgopt.periods(rule."by", first, until) p
        )
        -- of a period that is there in part, what is free
        select pgopt.partition_name(c.relname, p.suffix), coalesce(b.upper, p.lower), coalesce(a.lower, p.upper)
        from pg_class c, period p
        left join lateral (
            select * from there t where t.low <= p.low and t.high > p.low limit 1
        ) b on true
        left join lateral (
            select * from there t where t.low > p.low and t.low < p.high order by t.low limit 1
        ) a on true
        where c.oid = parent and coalesce(b.high, p.low) < coalesce(a.low, p.high)
        order by p.low;
end
$$;
comment on function pgopt.missing_partitions is 'the partitions that a table should have and has not, up to those ahead';

create function pgopt.without_defaults(made regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it text;
begin
    for it in
        select distinct format('revoke all on %s %s from %s cascade', case c.relkind when 'S' then 'sequence' else 'table' end, made,
                               case x.grantee when 0 then 'public' else x.grantee::regrole::text end)
        from pg_class c, aclexplode(c.relacl) x where c.oid = made and x.grantee <> c.relowner
        union all
        select format('grant all on %s %s to %I', case c.relkind when 'S' then 'sequence' else 'table' end, made, pg_get_userbyid(c.relowner))
        from pg_class c where c.oid = made and c.relacl is not null
    loop
        execute it;
    end loop;
end
$$;
comment on function pgopt.without_defaults is 'takes back what default privileges have given others, or taken from the owner, on something that is made for a table';

create function pgopt.likeness(sibling regclass, made regclass) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
with s as (select * from pg_class where oid = sibling),
columns as (
    select a.*, col_description(a.attrelid, a.attnum) as comment
    from pg_attribute a where a.attrelid = sibling and a.attnum > 0 and not a.attisdropped
),
privileges as (
    select null::name as col, u.place, x.* from s, unnest(s.relacl) with ordinality u (item, place), aclexplode(array[u.item]) x
    union all
    select a.attname, u.place, x.* from columns a, unnest(a.attacl) with ordinality u (item, place), aclexplode(array[u.item]) x
)
select format('alter table %s owner to %I', made, pg_get_userbyid(relowner)) from s
union all
select format('alter table %s enable row level security', made) from s where relrowsecurity
union all
select format('alter table %s force row level security', made) from s where relforcerowsecurity
union all
select format('alter table %s replica identity %s', made, case relreplident when 'n' then 'nothing' else 'full' end)
from s where relreplident in ('n', 'f')
union all
select format('comment on table %s is %L', made, obj_description(sibling, 'pg_class'))
where obj_description(sibling, 'pg_class') is not null
union all
select format('comment on column %s.%I is %L', made, attname, comment) from columns where comment is not null
union all
select format('alter table %s alter column %I set statistics %s', made, attname, attstattarget) from columns where attstattarget >= 0
union all
-- not what 15.20 and its like note there of a column, for themselves
select format('alter table %s alter column %I set (%s)', made, attname, string_agg(o, ', ')) from columns, unnest(attoptions) o
where o !~ '^pg_attver=' group by attname
union all
(select format('grant %s%s on %s to %s%s', privilege_type, ' (' || quote_ident(col) || ')', made,
               case grantee when 0 then 'public' else grantee::regrole::text end, case when is_grantable then ' with grant option' end)
 from privileges, s where grantee <> s.relowner order by col nulls first, place)
$$;
comment on function pgopt.likeness is 'the statements that make a new table what a sibling is';

create function pgopt.likeness_of_index(sibling regclass, made regclass) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
with pair as (
    select x.indisreplident, x.indisclustered, c.reloptions, c.reltablespace, n.relname, n.reltablespace as made_space,
           y.indrelid::regclass as made_table, obj_description(sibling, 'pg_class') as comment
    from pg_index x
    join pg_class c on c.oid = x.indexrelid
    join pg_index y on y.indexrelid = made
    join pg_class n on n.oid = made
    where x.indexrelid = sibling
)
select format('alter index %s set (%s)', made, array_to_string(reloptions, ', ')) from pair where reloptions is not null
union all
select format('alter index %s set tablespace %I', made, coalesce(t.spcname, 'pg_default'))
from pair left join pg_tablespace t on t.oid = reltablespace where reltablespace <> made_space
union all
select format('alter index %s alter column %s set statistics %s', made, a.attnum, a.attstattarget)
from pair join pg_attribute a on a.attrelid = sibling and a.attstattarget >= 0
union all
select format('alter table %s replica identity using index %I', made_table, relname) from pair where indisreplident
union all
select format('alter table %s cluster on %I', made_table, relname) from pair where indisclustered
union all
select format('comment on index %s is %L', made, comment) from pair where comment is not null
$$;
comment on function pgopt.likeness_of_index is 'the statements that make the index of a new partition what that of a sibling is';

create function pgopt.likeness_of_indexes(sibling regclass, made regclass) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select pgopt.likeness_of_index(x.indexrelid, y.indexrelid)
from pg_index x
join pg_inherits h on h.inhrelid = x.indexrelid
join pg_inherits o on o.inhparent = h.inhparent
join pg_index y on y.indexrelid = o.inhrelid and y.indrelid = made
where x.indrelid = sibling
$$;
comment on function pgopt.likeness_of_indexes is 'the statements that make the indexes of a new partition what those of a sibling are';

create function pgopt.make_like(parent regclass, sibling regclass, name text) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp set default_tablespace = ''
as $$
declare
    it pg_class;
    made text;
    storage text[];
    statement text;
begin
    select * into it from pg_class where oid = coalesce(sibling, parent);
    storage := coalesce(it.reloptions, '{}')
        || array(select 'toast.' || o from pg_class t, unnest(t.reloptions) o where t.oid = it.reltoastrelid);
    select format('%I.%I', n.nspname, name) into made
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = parent;
    execute format(
        'create %s table %s (like %s including defaults including constraints including generated including storage'
        ' including compression) %s %s %s',
        case it.relpersistence when 'u' then 'unlogged' end, made, parent,
        'using ' || (select quote_ident(amname) from pg_am where oid = it.relam and it.relkind = 'r'),
        case when cardinality(storage) > 0 then 'with (' || array_to_string(storage, ', ') || ')' end,
        'tablespace ' || (select quote_ident(spcname) from pg_tablespace where oid = it.reltablespace)
    );
    perform pgopt.without_defaults(made::regclass);
    for statement in select pgopt.likeness(coalesce(sibling, parent), made::regclass) where sibling is not null
        union all select format('alter table %s owner to %I', made, pg_get_userbyid(it.relowner)) where sibling is null
    loop
        execute statement;
    end loop;
    return made::regclass;
end
$$;
comment on function pgopt.make_like is 'makes an empty table, to be a partition, like one that is there';

create function pgopt.make_partition(parent regclass, name text, lower text, upper text) returns void
language plpgsql set search_path = pg_catalog, pg_temp set default_tablespace = '' set timezone = 'UTC' set datestyle = 'ISO'
as $$
declare
    sibling regclass;
    made regclass;
    statement text;
    -- who may not have its changes noted makes it all the same: then no refresh is skipped any more
    watched constant boolean := exists (select from pg_trigger t where t.tgrelid = parent and t.tgname = 'pgopt_dirty')
        and has_table_privilege('pgopt.source', 'insert') and has_function_privilege('pgopt.note_dirty()', 'execute');
begin
    select p.partition into sibling from pgopt.partitions_of(parent) p join pg_class c on c.oid = p.partition
    where c.relkind = 'r' and p.high is not null order by p.high desc limit 1;
    made := pgopt.make_like(parent, sibling, name);
    -- what notes the changes for a table that is kept up and for materialized views, and what keeps columns
    for statement in
        select s from pg_trigger t, pg_get_triggerdef(t.oid) d, strpos(d, ' ON ' || parent || ' ') at,
               unnest(array[overlay(d placing ' ON ' || made || ' ' from at for length(' ON ' || parent || ' ')),
                            case t.tgenabled when 'A' then format('alter table %s enable always trigger %I', made, t.tgname) end]) s
        where t.tgrelid = parent and s is not null
          and (t.tgname in ('pgopt_insert', 'pgopt_update', 'pgopt_delete', 'pgopt_truncate')
               or t.tgname ~ '^zz_pgopt_[0-9a-f]{8}_' and t.tgtype & 1 = 0
               or t.tgname = 'pgopt_dirty' and watched)
    loop
        execute statement;
    end loop;
    if watched then
        insert into pgopt.source (source, view) select made, s.view from pgopt.source s where s.source = parent;
    end if;
    execute format('alter table %s attach partition %s for values from (%s) to (%s)', parent, made,
                   case lower when 'MINVALUE' then lower else quote_literal(lower) end,
                   case upper when 'MAXVALUE' then upper else quote_literal(upper) end);
    for statement in select pgopt.likeness_of_indexes(sibling, made) where sibling is not null loop
        execute statement;
    end loop;
end
$$;
comment on function pgopt.make_partition is 'makes a partition like its newest sibling; SHARE UPDATE EXCLUSIVE, but ACCESS EXCLUSIVE on a default';

create function pgopt.take_out(parent regclass, part regclass, on_expiry text, archive_schema text) returns void
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
declare
    bound text := pg_get_partition_constraintdef(part);
    log regclass;
    trigger name;
    it regclass;
begin
    -- LOCK TABLE is refused to an owner who may not write
    if has_table_privilege(part, 'update, delete, truncate') then
        -- an autovacuum gives way to this after a while, and nobody waits for it meanwhile
        execute format('lock table only %s in share update exclusive mode', part);
    end if;
    foreach it in array array[parent, part] loop
        if has_table_privilege(it, 'update, delete, truncate') then
            execute format('lock table only %s in access exclusive mode', it);
        else
            execute format('alter table only %s owner to %I', it, (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = it));
        end if;
    end loop;
    select c.log into log from pgopt.copy c where c.source = parent and c.ready;
    if log is not null then
        -- or the way back would bring the rows back
        execute format('insert into %s (gone) values (%L)', log, bound);
    end if;
    for trigger in
        select t.tgname from pg_trigger t
        where t.tgrelid = part
          and (t.tgname in ('pgopt_insert', 'pgopt_update', 'pgopt_delete', 'pgopt_truncate')
               or t.tgname ~ '^zz_pgopt_[0-9a-f]{8}_' and t.tgtype & 1 = 0)
    loop
        execute format('drop trigger %I on %s', trigger, part);
    end loop;
    perform pgopt.rows_gone(part);
    execute format('alter table %s detach partition %s', parent, part);
    if on_expiry = 'drop' then
        execute format('drop table %s', part);
        return;
    end if;
    -- with it the table can be attached again without being read; checked when nobody uses it any more
    execute format('alter table %s drop constraint if exists pgopt_expired', part);
    execute format('alter table %s add constraint pgopt_expired check (%s) not valid', part, bound);
    if on_expiry = 'archive' then
        execute format('alter table %s set schema %I', part, archive_schema);
    end if;
end
$$;
comment on function pgopt.take_out is 'detaches a partition, and drops or archives it; ACCESS EXCLUSIVE for an instant';

create function pgopt.attempt(statement text) returns text
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
    said text;
    patience integer;
    -- an autovacuum gives way after deadlock_timeout
    last constant integer := 500 + extract(epoch from current_setting('deadlock_timeout')::interval) * 1000;
begin
    foreach patience in array array[100, 300, last] loop
        begin
            perform set_config('lock_timeout', patience || 'ms', true);
            execute statement;
            return null;
        exception
            when lock_not_available or deadlock_detected then
                said := sqlerrm || ': somebody uses it, so it is left for the next time';
                perform pg_sleep(0.05);
            when others then
                return sqlerrm;
        end;
    end loop;
    return said;
end
$$;
comment on function pgopt.attempt is 'runs a statement with little patience for locks, and says why it was not done';

create function pgopt.retire(parent regclass, part regclass, on_expiry text, archive_schema text) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from pgopt.partitions_of(parent) p where p.low is not null and p.partition <> part) then
        return 'it is the last partition';
    end if;
    if exists (select from pgopt.copy c where c.source in (parent, part) and not c.ready) then
        return 'it is being copied';
    end if;
    return pgopt.attempt(format('select pgopt.take_out(%L, %L, %L, %L)', parent::oid, part::oid, on_expiry, archive_schema));
end
$$;
comment on function pgopt.retire is 'takes a partition out unless it is the last, with little patience, and says why it was not done';

create function pgopt.maintain_partitions(relation regclass default null, with_analyze boolean default false)
returns table (parent regclass, action text, partition text, detail text)
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
    rule pgopt.partitioned;
    rules pgopt.partitioned[];
    it record;
    refused text;
begin
    if pg_is_in_recovery() then
        return;
    end if;
    if relation is not null and not exists (select from pgopt.partitioned p where p.relation = maintain_partitions.relation) then
        raise exception 'pgopt knows no partitions of %: make them with op.partition_table or op.create_partitioned_table', relation;
    end if;
    for it in
        select o.conrelid::regclass as part, pgopt.attempt(format('alter table %s validate constraint pgopt_expired', o.conrelid::regclass)) as refused
        from pg_constraint o where o.conname = 'pgopt_expired' and o.contype = 'c' and not o.convalidated and relation is null
    loop
        return query select null::regclass, coalesce('skipped' || left(it.refused, 0), 'checked'), it.part::text, it.refused;
    end loop;
    for rule in
        select p.* from pgopt.partitioned p join pg_class c on c.oid = p.relation
        where c.relkind = 'p' and p.by ->> 'kind' in ('time', 'int') and p.relation = coalesce(maintain_partitions.relation, p.relation)
        order by c.oid
    loop
        if exists (select from pgopt.copy c left join pg_inherits h on h.inhrelid = c.source
                   where rule.relation in (c.source, h.inhparent) and not c.ready) then
            return query select rule.relation, 'skipped', null::text, 'it is being copied, or a partition of it is';
            continue;
        elsif not pg_try_advisory_xact_lock(hashtextextended('pgopt.maintain_partitions', rule.relation::oid::bigint)) then
            return query select rule.relation, 'skipped', null::text, 'another session maintains it';
            continue;
        end if;
        -- what we may not read of one table is no reason to leave the others
        refused := pgopt.attempt(format(
            'select pgopt.reached(%1$L); select pgopt.has_rows(p.partition) from pgopt.partitions_of(%1$L) p where p.low is null',
            rule.relation::oid));
        if refused is not null then
            raise notice '% is not maintained: %', rule.relation, refused;
            return query select rule.relation, 'skipped', null::text, refused;
            continue;
        end if;
        rules := rules || rule;
        return query select rule.relation, d.* from pgopt.create_ahead(rule) d;
        return query select rule.relation, 'default', p.partition::text, 'has rows that have no partition of their own'
            from pgopt.partitions_of(rule.relation) p where p.low is null and pgopt.has_rows(p.partition);
        if with_analyze then
            execute format('analyze %s', rule.relation);
            return query select rule.relation, 'analyzed', null::text, null::text;
        end if;
    end loop;
    -- at the end, since the lock on a table is held until it
    foreach rule in array coalesce(rules, '{}') loop
        return query select rule.relation, d.* from pgopt.apply_rule(rule) d;
    end loop;
end
$$;
comment on function pgopt.maintain_partitions is 'makes partitions ahead and takes out one that the rule of a table does not keep; tells what was done, and whether more are left';

create procedure pgopt.maintain(relation pg_catalog.regclass default null, with_analyze pg_catalog.bool default false)
language plpgsql
as $$
declare
    it pg_catalog.record;
    more pg_catalog.bool := true;
begin
    -- it commits, so it has no settings of its own: all in it is qualified, or has no name
    while more loop
        more := false;
        for it in select m.* from pgopt.maintain_partitions(relation, with_analyze) m loop
            more := more or it.action operator(pg_catalog.=) 'left';
            raise notice '% % of %: %', it.action, it.partition, it.parent, it.detail;
        end loop;
        with_analyze := false;
        commit;
    end loop;
end
$$;
comment on procedure pgopt.maintain is 'does what pgopt.maintain_partitions does until nothing is left to do, and commits after each partition that is taken out';

create function pgopt.refuse_gone() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception '% is no partition any more: write to the table itself', tg_relid::regclass;
end
$$;
comment on function pgopt.refuse_gone is 'refuses rows to what has been a partition, and waits to be dropped';

create function pgopt.has_rows(part regclass) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set row_security = off
as $$
declare
    found_some boolean;
begin
    execute format('select exists (select from %s)', part) into found_some;
    return found_some;
end
$$;
comment on function pgopt.has_rows is 'whether a table has rows';

create function pgopt.create_ahead(rule pgopt.partitioned) returns table (action text, partition text, detail text)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    it record;
    refused text;
begin
    if rule.premake <= 0 then
        return;
    end if;
    for it in select * from pgopt.missing_partitions(rule.relation) loop
        refused := case
            when exists (select from pg_class c join pg_class p on p.relnamespace = c.relnamespace
                         where p.oid = rule.relation and c.relname = it.name)
            then 'there is another relation of that name: rename it'
            -- it would be read under ACCESS EXCLUSIVE
            when exists (select from pgopt.partitions_of(rule.relation) p
                         where p.low is null and pg_relation_size(p.partition) > 64 * 1024 * 1024)
            then 'the default partition has grown large, and would be read while everybody waits: empty it'
            else pgopt.attempt(format('select pgopt.make_partition(%L, %L, %L, %L)', rule.relation::oid, it.name, it.lower, it.upper))
        end;
        if refused is not null then
            raise notice 'partition % of % is not made: %', it.name, rule.relation, refused;
        end if;
        return query select case when refused is null then 'created' else 'skipped' end,
            (select format('%s.%I', c.relnamespace::regnamespace, it.name) from pg_class c where c.oid = rule.relation),
            coalesce(refused, format('from %s to %s', it.lower, it.upper));
    end loop;
end
$$;
comment on function pgopt.create_ahead is 'makes the partitions that are missing';

create function pgopt.apply_rule(rule pgopt.partitioned) returns table (action text, partition text, detail text)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    it record;
    refused text;
    taken_out boolean := false;
begin
    if rule.keep is null then
        return;
    end if;
    for it in
        select p.*, p.partition::text as name from pgopt.partitions_of(rule.relation) p
        where p.high <= pgopt.place(rule."by", pgopt.kept_from(rule, pgopt.reached(rule.relation)))
        order by p.high
    loop
        if taken_out then
            return query select 'left', it.name, 'for the next call: each takes out one partition; CALL pgopt.maintain() takes out all';
            return;
        end if;
        refused := pgopt.retire(rule.relation, it.partition, rule.on_expiry, rule.archive_schema);
        taken_out := refused is null;
        if refused is not null then
            raise notice 'partition % of % stays: %', it.partition, rule.relation, refused;
        end if;
        return query select case when refused is not null then 'skipped' when rule.on_expiry = 'drop' then 'dropped'
                                 when rule.on_expiry = 'archive' then 'archived' else 'detached' end,
            it.name, coalesce(refused, format('from %s to %s', it.lower, it.upper));
    end loop;
end
$$;
comment on function pgopt.apply_rule is 'takes out a partition that a rule does not keep, and tells whether there are more';

create function pgopt.watch_instead(old regclass, successor regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    watching regclass[] := array(select distinct s.view from pgopt.source s where s.source = old);
    gone regclass[] := array(
        (select old union select relid from pg_partition_tree(old))
        except (select successor union select relid from pg_partition_tree(successor)));
    it regclass;
begin
    for it in select t.tgrelid from pg_trigger t where t.tgname = 'pgopt_dirty' and t.tgrelid = any(gone) loop
        execute format('drop trigger pgopt_dirty on %s', it);
    end loop;
    delete from pgopt.source s where s.source = any(gone) or not exists (select from pg_class c where c.oid = s.source);
    foreach it in array watching loop
        -- where it cannot be known any more that there is nothing to do, a refresh is not skipped
        if not exists (select from pgopt.unseen_changes(it)) then
            perform pgopt.watch(it, array(select r.relation from pgopt.read_by(it) r where r.kind in ('r', 'p')));
        end if;
    end loop;
end
$$;
comment on function pgopt.watch_instead is 'has the changes of a table that has taken the place of another noted for the materialized views for which those of the other were';

revoke all on all functions in schema pgopt from public;
