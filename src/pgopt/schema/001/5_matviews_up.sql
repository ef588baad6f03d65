create table pgopt.materialized (
    view regclass primary key,
    fresh_at timestamptz,
    fingerprint text,
    failures integer not null default 0,
    retry_at timestamptz,
    error text
);
comment on table pgopt.materialized is 'materialized views: as of when their rows are, and how often their refresh has failed in a row';
comment on column pgopt.materialized.fingerprint is 'what the view was made of when it was refreshed last: its skipping rests on that';

create table pgopt.refresh (
    id bigint generated always as identity primary key,
    view regclass not null,
    outcome text not null check (outcome in ('created', 'replaced', 'refreshed', 'skipped', 'failed')),
    method text check (method in ('plain', 'concurrently')),
    started_at timestamptz not null,
    finished_at timestamptz not null,
    rows bigint,
    bytes bigint,
    detail text
);
create index on pgopt.refresh (view, id);
comment on table pgopt.refresh is 'the last thousand refreshes of each materialized view';

create table pgopt.source (
    source regclass,
    view regclass,
    primary key (source, view)
);
create index on pgopt.source (view);
comment on table pgopt.source is 'tables whose changes are noted for a materialized view, so that a refresh with nothing to do is skipped';

create table pgopt.dirty (
    view oid not null,
    xid xid8 not null
);
create index on pgopt.dirty (view);
comment on table pgopt.dirty is 'materialized views whose tables have changed: a row for each transaction that did';

create function pgopt.read_by(view regclass) returns table (relation regclass, kind "char")
language sql stable set search_path = pg_catalog, pg_temp
as $$
with recursive seen (relation) as (
    select view::oid
    union
    -- from the parsed query: of the server's own relations and functions there are no dependencies
    select n.relation
    from seen s, lateral (
        select m[1]::oid as relation
        from pg_class c
        join pg_rewrite r on r.ev_class = c.oid and r.ev_type = '1',
        regexp_matches(r.ev_action::text, ':relid ([0-9]+)', 'g') m
        where c.oid = s.relation and (c.relkind = 'v' or c.oid = view)
        union all
        select h.inhrelid from pg_inherits h where h.inhparent = s.relation
    ) n
)
select c.oid::regclass, c.relkind from seen s join pg_class c on c.oid = s.relation where c.oid <> view
$$;
comment on function pgopt.read_by is 'the relations that a materialized view reads, also through views, with all partitions';

create function pgopt.called_by(view regclass) returns table (node text, func oid)
language sql stable set search_path = pg_catalog, pg_temp
as $$
with tree as (
    select r.ev_action::text as said from pg_rewrite r
    where r.ev_type = '1' and (r.ev_class = view or r.ev_class in (select relation from pgopt.read_by(view) where kind = 'v'))
)
select distinct null, m[1]::oid from tree, regexp_matches(said, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') m
union
select distinct m[1], null::oid from tree,
    regexp_matches(said, '[{](SQLVALUEFUNCTION|NEXTVALUEEXPR|TABLESAMPLECLAUSE|XMLEXPR|JSONEXPR|JSONCONSTRUCTOREXPR|ROWCOMPAREEXPR) ', 'g') m
union
select 'system column', null from tree where said ~ ':varattno -'
union
-- a cast to text or from it says neither how nor of what
select distinct 'cast to or from text', f.oid
from (select distinct m[1]::oid as type from tree,
          regexp_matches(said, ':(?:vartype|consttype|funcresulttype|opresulttype|aggtype|wintype|resulttype) ([0-9]+)', 'g') m
      where exists (select from tree where said ~ '[{]COERCEVIAIO ')) x
join pg_type t on t.oid = x.type
join pg_proc f on f.oid in (t.typinput, t.typoutput)
$$;
comment on function pgopt.called_by is 'the functions that a materialized view calls, and what in its query is no function';

create function pgopt.unseen_changes(view regclass, depends_on regclass[] default null) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
with recursive named (oid) as (
    select unnest(depends_on)::oid union select h.inhrelid from named n join pg_inherits h on h.inhparent = n.oid
)
select case node
           when 'SQLVALUEFUNCTION' then 'it asks for the time or the user, as CURRENT_DATE does'
           when 'NEXTVALUEEXPR' then 'it takes values from a sequence'
           when 'TABLESAMPLECLAUSE' then 'it has TABLESAMPLE'
           when 'system column' then 'it reads a system column'
           else format('it has a %s, whose result may rest on settings', lower(replace(node, 'EXPR', '')))
       end
from pgopt.called_by(view) where func is null
union
select format('it calls %s, which is %s%s', p.oid::regprocedure, case p.provolatile when 's' then 'stable' else 'volatile' end,
              ', in a ' || c.node)
from pgopt.called_by(view) c join pg_proc p on p.oid = c.func where p.provolatile <> 'i'
union
select format('it reads %s, whose changes nobody notes: it is %s', c.oid::regclass,
              case when c.oid < 16384 then 'the server''s own' when c.relkind = 'm' then 'a materialized view'
                   when c.relkind = 'f' then 'a foreign table' when c.relkind = 'S' then 'a sequence'
                   when c.relrowsecurity then 'under row level security' else 'filled by a subscription' end)
from pgopt.read_by(view) r join pg_class c on c.oid = r.relation
where c.oid < 16384 or c.relkind not in ('r', 'p', 'v') or c.relrowsecurity
    or exists (select from pg_subscription_rel s where s.srrelid = c.oid)
union
select format('it reads %s, which depends_on does not name', r.relation)
from pgopt.read_by(view) r where depends_on is not null and r.kind in ('r', 'p') and r.relation not in (select oid from named)
order by 1
$$;
comment on function pgopt.unseen_changes is 'why nobody can know for certain that a materialized view has nothing to do';

create function pgopt.fingerprint(view regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
with it as materialized (select relation::oid as oid, kind from pgopt.read_by(view))
select md5(string_agg(said, ' ' order by said)) from (
    select format('rule %s %s', r.oid, r.xmin) from pg_rewrite r
    where r.ev_type = '1' and (r.ev_class = view or r.ev_class in (select oid from it where kind = 'v'))
    union all
    select format('trigger %s %s', t.oid, t.xmin) from pg_trigger t join it on it.oid = t.tgrelid where t.tgname = 'pgopt_dirty'
    union all
    select format('part %s %s', h.inhrelid, h.xmin) from pg_inherits h join it on it.oid = h.inhrelid
    union all
    select format('function %s %s', p.oid, p.xmin) from pg_proc p where p.oid in (select func from pgopt.called_by(view))
    union all
    select format('default %s %s', d.oid, d.xmin) from pg_attrdef d join it on it.oid = d.adrelid
    union all
    select format('file %s %s', c.oid, c.relfilenode) from pg_class c join it on it.oid = c.oid and it.kind = 'r'
) x (said)
$$;
comment on function pgopt.fingerprint is 'tells whether what a materialized view is made of has changed otherwise than by statements on its tables';

create function pgopt.note_dirty() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    -- goes with the transaction or the savepoint; a table would make serializable writers conflict
    noted text := 'pgopt.noted_' || tg_relid;
begin
    if current_setting(noted, true) is distinct from pg_current_xact_id()::text then
        insert into pgopt.dirty (view, xid) select s.view, pg_current_xact_id() from pgopt.source s where s.source = tg_relid;
        perform set_config(noted, pg_current_xact_id()::text, true);
    end if;
    return null;
end
$$;
comment on function pgopt.note_dirty is 'notes that a transaction has changed a table that materialized views are made of';

create function pgopt.unwatched(view regclass) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
select r.relation from pgopt.read_by(view) r
where r.kind in ('r', 'p')
  and not (exists (select from pgopt.source s where s.source = r.relation and s.view = unwatched.view)
           and exists (select from pg_trigger t where t.tgrelid = r.relation and t.tgname = 'pgopt_dirty' and t.tgenabled = 'A'
                           and t.tgfoid = 'pgopt.note_dirty'::regproc))
$$;
comment on function pgopt.unwatched is 'the tables that a materialized view reads, and whose changes are not noted';

create function pgopt.watch(view regclass, depends_on regclass[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    reasons text;
    it regclass;
begin
    select string_agg(r, '; ') into reasons from pgopt.unseen_changes(watch.view, watch.depends_on) r;
    if reasons is not null then
        raise exception 'nobody could know for certain that % needs no refresh: %', watch.view, reasons;
    end if;
    for it in select u.* from pgopt.unwatched(watch.view) u loop
        if not exists (select from pg_trigger t where t.tgrelid = it and t.tgname = 'pgopt_dirty') then
            execute format('create trigger pgopt_dirty after insert or update or delete or truncate on %s'
                           ' for each statement execute function pgopt.note_dirty()', it);
        end if;
        if not exists (select from pg_trigger t where t.tgrelid = it and t.tgname = 'pgopt_dirty' and t.tgenabled = 'A') then
            -- replicated rows change it, too
            execute format('alter table %s enable always trigger pgopt_dirty', it);
        end if;
        insert into pgopt.source (source, view) values (it, watch.view) on conflict do nothing;
    end loop;
    insert into pgopt.materialized (view) values (watch.view) on conflict do nothing;
end
$$;
comment on function pgopt.watch is 'has the changes of the tables of a materialized view noted; SHARE ROW EXCLUSIVE on them';

create function pgopt.unwatch(view regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    it regclass;
begin
    for it in
        select s.source from pgopt.source s join pg_trigger t on t.tgrelid = s.source and t.tgname = 'pgopt_dirty'
        where s.view = unwatch.view and not exists (select from pgopt.source o where o.source = s.source and o.view <> s.view)
    loop
        execute format('drop trigger pgopt_dirty on %s', it);
    end loop;
    delete from pgopt.source s where s.view = unwatch.view;
    delete from pgopt.dirty d where d.view = unwatch.view;
end
$$;
comment on function pgopt.unwatch is 'has the changes of the tables of a materialized view noted no longer; ACCESS EXCLUSIVE on them';

create function pgopt.not_concurrently(view regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select format('%s cannot be refreshed concurrently without a unique index on plain columns: %s', view,
              coalesce(string_agg(format('%s is %s', i.indexrelid::regclass,
                                         case when not i.indisvalid then 'invalid' when i.indpred is not null then 'partial'
                                              when i.indexprs is not null then 'on expressions' else 'deferrable' end), ', '
                                  order by i.indexrelid::regclass::text) filter (where i.indexrelid is not null),
                       'it has none'))
from (select) x left join pg_index i on i.indrelid = view and i.indisunique
having not coalesce(bool_or(i.indisvalid and i.indisready and i.indimmediate and i.indpred is null and i.indexprs is null), false)
$$;
comment on function pgopt.not_concurrently is 'why a materialized view cannot be refreshed concurrently';

create function pgopt.note_refresh(view regclass, outcome text, method text, started timestamptz, detail text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    number bigint;
begin
    if note_refresh.outcome not in ('skipped', 'failed') then
        -- a plain refresh has counted them when it built an index, and is in everybody's way; nobody waits for another one
        select c.reltuples into number from pg_class c
        where c.oid = note_refresh.view and note_refresh.method = 'plain' and c.relhasindex and c.reltuples >= 0;
        if number is null then
            execute format('select count(*) from %s', note_refresh.view) into number;
        end if;
    end if;
    insert into pgopt.refresh (view, outcome, method, started_at, finished_at, rows, bytes, detail)
    values (note_refresh.view, note_refresh.outcome, note_refresh.method, started, clock_timestamp(), number,
            pg_total_relation_size(note_refresh.view), note_refresh.detail);
    delete from pgopt.refresh r
    where r.view = note_refresh.view
      and r.id <= (select o.id from pgopt.refresh o where o.view = note_refresh.view order by o.id desc offset 1000 limit 1);
end
$$;
comment on function pgopt.note_refresh is 'writes down what came of a refresh';

create function pgopt.made(view regclass, outcome text, started timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    insert into pgopt.materialized as m (view, fresh_at) values (made.view, started)
    on conflict (view) do update set fresh_at = excluded.fresh_at, fingerprint = null, failures = 0, retry_at = null, error = null;
    perform pgopt.note_refresh(made.view, made.outcome, 'plain', started, null);
end
$$;
comment on function pgopt.made is 'writes down that a materialized view was filled';

create function pgopt.moved(view regclass, successor regclass) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
-- its rows are those of when it was built, which may be older than the last refresh of the other
update pgopt.materialized m set fresh_at = n.fresh_at from pgopt.materialized n where m.view = moved.view and n.view = successor;
delete from pgopt.materialized where view = successor;
update pgopt.materialized set view = successor, fingerprint = null where view = moved.view;
update pgopt.refresh set view = successor where view = moved.view;
update pgopt.source set view = successor where view = moved.view;
update pgopt.dirty set view = successor where view = moved.view
$$;
comment on function pgopt.moved is 'lets what is known of a materialized view be known of the one that takes its place';

create function pgopt.forget(view regclass) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
delete from pgopt.materialized where view = forget.view;
delete from pgopt.refresh where view = forget.view
$$;
comment on function pgopt.forget is 'forgets what is known of a materialized view';

create function pgopt.refresh(view regclass, concurrently boolean default null, force boolean default false)
returns table (outcome text, detail text)
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
#variable_conflict use_column
declare
    it pgopt.materialized;
    started timestamptz := clock_timestamp();
    as_of timestamptz := case current_setting('transaction_isolation') when 'read committed' then clock_timestamp() else now() end;
    populated boolean;
    method text;
    mark text;
    said text;
    patience integer;
    cancelled boolean := false;
    -- an autovacuum gives way after deadlock_timeout
    last constant integer := 500 + extract(epoch from current_setting('deadlock_timeout')::interval) * 1000;
begin
    select c.relispopulated into populated from pg_class c where c.oid = refresh.view and c.relkind = 'm';
    if not found then
        raise exception '% is not a materialized view', refresh.view;
    end if;
    said := pgopt.not_concurrently(refresh.view);
    if refresh.concurrently and said is not null then
        raise exception '%', said;
    end if;
    method := case when populated and coalesce(refresh.concurrently, said is null) then 'concurrently' else 'plain' end;
    if pg_is_in_recovery() then
        return query select 'skipped', 'this server is a standby';
        return;
    end if;
    if not pg_try_advisory_xact_lock(hashtextextended('pgopt.refresh', refresh.view::oid::bigint)) then
        return query select 'skipped', 'a refresh is under way already';
        return;
    end if;
    insert into pgopt.materialized (view) values (refresh.view) on conflict do nothing;
    select * into it from pgopt.materialized m where m.view = refresh.view;
    if it.retry_at > clock_timestamp() and not force then
        return query select 'postponed', format('it has failed %s times and is tried again from %s on, or with force => true: %s',
                                                it.failures, it.retry_at, it.error);
        return;
    end if;
    mark := pgopt.fingerprint(refresh.view);
    if not force and populated and it.fingerprint = mark and not exists (select from pgopt.dirty d where d.view = refresh.view::oid)
        and not exists (select from pgopt.unwatched(refresh.view)) and not exists (select from pgopt.unseen_changes(refresh.view))
    then
        update pgopt.materialized m set fresh_at = as_of where m.view = refresh.view;
        perform pgopt.note_refresh(refresh.view, 'skipped', null, started, 'nothing has changed');
        return query select 'skipped', 'nothing has changed';
        return;
    end if;
    foreach patience in array array[100, 300, last] loop
        begin
            perform set_config('lock_timeout', patience || 'ms', true);
            -- before the view is read: what is noted after this is for the next time
            delete from pgopt.dirty d where d.view = refresh.view::oid;
            execute format('refresh materialized view %s %s', nullif(method, 'plain'), refresh.view);
            said := null;
            exit;
        exception
            when lock_not_available or deadlock_detected then
                said := sqlerrm;
            when query_canceled then
                cancelled := true;
                said := sqlerrm;
                exit;
            when others then
                said := sqlerrm;
                exit;
        end;
    end loop;
    if said is not null then
        update pgopt.materialized m
        set failures = m.failures + 1, error = said,
            retry_at = clock_timestamp() + least(interval '1 hour', interval '10 s' * 2 ^ least(m.failures, 10))
        where m.view = refresh.view;
        perform pgopt.note_refresh(refresh.view, 'failed', method, started, said);
        return query select case when cancelled then 'cancelled' else 'failed' end, said;
        return;
    end if;
    update pgopt.materialized m set fresh_at = as_of, fingerprint = mark, failures = 0, retry_at = null, error = null
    where m.view = refresh.view;
    perform pgopt.note_refresh(refresh.view, 'refreshed', method, started, null);
    return query select 'refreshed', null::text;
end
$$;
comment on function pgopt.refresh is 'refreshes a materialized view, one session at a time, and writes down what came of it; says so and does nothing where there is nothing to do';

create function pgopt.in_order(views regclass[] default null) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
with recursive wanted as (
    select c.oid from pg_class c
    where c.relkind = 'm' and c.oid = any(coalesce(views, array[c.oid::regclass]))
      and (views is not null or pg_has_role(c.relowner, 'USAGE'))
),
below (top, oid) as (
    select oid, oid from wanted
    union
    select b.top, r.relation::oid from below b, pgopt.read_by(b.oid) r where r.kind = 'm'
)
-- whatever a view reads reads fewer itself
select top::regclass from below group by top order by count(*), top
$$;
comment on function pgopt.in_order is 'materialized views in the order in which they are to be refreshed: each after those that it reads';

create procedure pgopt.refresh_all(
    views pg_catalog.regclass[] default null, concurrently pg_catalog.bool default null, force pg_catalog.bool default false
)
language plpgsql
as $$
declare
    it pg_catalog.regclass;
    came pg_catalog.record;
    failed pg_catalog.text;
begin
    -- it commits, so it has no settings of its own: all in it is qualified, or has no name
    for it in select o.* from pgopt.in_order(views) o loop
        select * into came from pgopt.refresh(it, refresh_all.concurrently, refresh_all.force);
        raise notice '%: %', it, pg_catalog.concat_ws(': ', came.outcome, came.detail);
        if came.outcome operator(pg_catalog.=) any (array['failed', 'postponed', 'cancelled']) then
            failed := pg_catalog.concat_ws('; ', failed, pg_catalog.concat(it, ': ', came.detail));
        end if;
        -- what was written down stays, whatever is raised at the end
        commit;
        exit when came.outcome operator(pg_catalog.=) 'cancelled';
    end loop;
    if failed is not null then
        raise exception 'not refreshed: %', failed;
    end if;
end
$$;
comment on procedure pgopt.refresh_all is 'refreshes materialized views, by default all of one''s own, each in a transaction of its own and after those that it reads';

create view pgopt.freshness as
select n.nspname as schema_name, c.relname as view_name, c.relispopulated as populated, m.fresh_at, now() - m.fresh_at as age,
       f.outcome, f.method, f.started_at, f.finished_at - f.started_at as duration, f.rows, f.bytes,
       coalesce(m.failures, 0) as failures, m.error, m.retry_at,
       exists (select from pgopt.source s where s.view = c.oid) as is_watched,
       exists (select from pgopt.dirty d where d.view = c.oid) as has_changes
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pgopt.materialized m on m.view = c.oid
left join lateral (
    select r.* from pgopt.refresh r
    where r.view = c.oid and r.outcome in ('created', 'replaced', 'refreshed') order by r.id desc limit 1
) f on true
where c.relkind = 'm';
comment on view pgopt.freshness is 'as of when the rows of each materialized view are, and what came of its last refresh';

create function pgopt.is_fresh(view regclass, within interval) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
select exists (
    select from pgopt.materialized m join pg_class c on c.oid = m.view
    where m.view = is_fresh.view and c.relispopulated and m.fresh_at >= now() - within
)
$$;
comment on function pgopt.is_fresh is 'whether the rows of a materialized view are not older than this';

revoke all on all functions in schema pgopt from public;
revoke all on all procedures in schema pgopt from public;
