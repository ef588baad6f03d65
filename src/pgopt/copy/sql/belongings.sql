-- What belongs to a table beside its rows, columns and indexes: the statements that take it from the table once that is called
-- {aside}, and those that give it to the one that then has the name. To be read with an empty search path.
with it as (
    select c.*, format('%I.%I', n.nspname, c.relname) as called, {aside}::text as aside,
           case c.relkind when 'm' then 'materialized view' else 'table' end as kind
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = {table}
),
privilege as (
    -- of the table and its columns, as they stand in the list: pg_dump writes them in that order
    select it.called, it.aside, null::text as col, 0 as number, u.place, x.*
    from it, unnest(it.relacl) with ordinality u (item, place), aclexplode(array[u.item]) x
    union all
    select it.called, it.aside, quote_ident(a.attname), a.attnum, u.place, x.*
    from it join pg_attribute a on a.attrelid = it.oid and a.attnum > 0 and not a.attisdropped,
         unnest(a.attacl) with ordinality u (item, place), aclexplode(array[u.item]) x
),
granted as (
    select called, aside, number, place, grantor, grantee,
           case when grantee = 0 then 'public' else format('%I', pg_get_userbyid(grantee)) end as who,
           string_agg(privilege_type || coalesce(' (' || col || ')', ''), ', ' order by privilege_type) as what, is_grantable
    from privilege group by called, aside, number, place, grantor, grantee, is_grantable
),
own_trigger as (
    select t.* from pg_trigger t join it on t.tgrelid = it.oid
    join pg_proc f on f.oid = t.tgfoid
    where not t.tgisinternal and t.tgparentid = 0 and f.pronamespace is distinct from to_regnamespace('pgopt')
),
owned as (
    select s.oid, format('%I.%I', n.nspname, s.relname) as called, d.deptype, a.attname, a.attidentity, q.*
    from it
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = it.oid and d.classid = 'pg_class'::regclass
        and d.deptype in ('a', 'i')
    join pg_class s on s.oid = d.objid and s.relkind = 'S'
    join pg_namespace n on n.oid = s.relnamespace
    join pg_sequence q on q.seqrelid = s.oid
    join pg_attribute a on a.attrelid = it.oid and a.attnum = d.refobjsubid
),
view as (
    select distinct v.oid, format('%I.%I', n.nspname, v.relname) as called, v.reloptions
    from it
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = it.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
    join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
    join pg_namespace n on n.oid = v.relnamespace
)
select take, give from (
    select 10 as phase, ''::text as name, 0::bigint as place,
           format('alter table %s disable row level security, no force row level security', aside) as take,
           format('alter table %s %s row level security, %s row level security', called,
                  case when relrowsecurity then 'enable' else 'disable' end,
                  case when relforcerowsecurity then 'force' else 'no force' end) as give
    from it where relkind <> 'm'
    union all
    select 20, p.polname, 0, format('drop policy %I on %s', p.polname, aside),
           format('create policy %I on %s as %s for %s to %s', p.polname, called,
                  case when p.polpermissive then 'permissive' else 'restrictive' end,
                  case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
                      else 'all' end,
                  (select string_agg(case when r = 0 then 'public' else format('%I', pg_get_userbyid(r)) end, ', ')
                   from unnest(p.polroles) r))
           || coalesce(' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
           || coalesce(' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
    from it join pg_policy p on p.polrelid = it.oid
    union all
    -- a comment that is gone by the time of the way back must not come back
    select 30, '', 0, format('comment on %s %s is null', kind, aside), null from it where obj_description(oid, 'pg_class'::name) is not null
    union all
    select 30, a.attname, a.attnum, format('comment on column %s.%I is null', aside, a.attname), null
    from it join pg_attribute a on a.attrelid = it.oid and not a.attisdropped and col_description(it.oid, a.attnum) is not null
    union all
    select 31, '', 0, null, format('comment on %s %s is %L', kind, called, obj_description(oid, 'pg_class'::name))
    from it where obj_description(oid, 'pg_class'::name) is not null
    union all
    select 31, a.attname, a.attnum, null, format('comment on column %s.%I is %L', called, a.attname, col_description(it.oid, a.attnum))
    from it join pg_attribute a on a.attrelid = it.oid and not a.attisdropped and col_description(it.oid, a.attnum) is not null
    union all
    select 32, o.conname, 0, null,
           format('comment on constraint %I on %s is %L', o.conname, called, obj_description(o.oid, 'pg_constraint'::name))
    from it join pg_constraint o on o.conrelid = it.oid
    where obj_description(o.oid, 'pg_constraint'::name) is not null and o.contype <> 'f'
    union all
    select 33, '', i.indexrelid::bigint, null,
           format('comment on index %s is %L', i.indexrelid::regclass, obj_description(i.indexrelid, 'pg_class'::name))
    from it join pg_index i on i.indrelid = it.oid where obj_description(i.indexrelid, 'pg_class'::name) is not null
    union all
    select 40, a.attname, a.attnum, null, format('alter table %s alter column %I set statistics %s', called, a.attname, a.attstattarget)
    from it join pg_attribute a on a.attrelid = it.oid and a.attnum > 0 and not a.attisdropped and a.attstattarget >= 0
    union all
    -- not what 15.20 and its like note there of a column, for themselves
    select 41, a.attname, a.attnum, null, format('alter table %s alter column %I set (%s)', called, a.attname, string_agg(o, ', '))
    from it join pg_attribute a on a.attrelid = it.oid and a.attnum > 0 and not a.attisdropped, unnest(a.attoptions) o
    where o !~ '^pg_attver=' group by called, a.attname, a.attnum
    union all
    select 42, s.stxname, 0, format('drop statistics %I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
    from it join pg_statistic_ext s on s.stxrelid = it.oid join pg_namespace n on n.oid = s.stxnamespace
    union all
    select 43, s.stxname, x.place, null,
           case x.place
               when 1 then format('alter statistics %I.%I owner to %I', n.nspname, s.stxname, pg_get_userbyid(s.stxowner))
               when 2 then format('alter statistics %I.%I set statistics %s', n.nspname, s.stxname, s.stxstattarget)
               when 3 then format('comment on statistics %I.%I is %L', n.nspname, s.stxname, obj_description(s.oid, 'pg_statistic_ext'::name))
           end
    from it join pg_statistic_ext s on s.stxrelid = it.oid join pg_namespace n on n.oid = s.stxnamespace,
         (values (1), (2), (3)) x (place)
    where x.place = 1 or (x.place = 2 and s.stxstattarget >= 0)
       or (x.place = 3 and obj_description(s.oid, 'pg_statistic_ext'::name) is not null)
    union all
    -- another table is made with LIKE, which brings these along
    select 44, a.attname, a.attnum, null, format('alter table %s alter column %I set storage %s', called, a.attname,
                                                 case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main'
                                                     else 'extended' end)
    from it join pg_attribute a on a.attrelid = it.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid where it.relkind = 'm' and a.attstorage <> t.typstorage
    union all
    select 45, a.attname, a.attnum, null, format('alter table %s alter column %I set compression %s', called, a.attname,
                                                 case a.attcompression when 'p' then 'pglz' else 'lz4' end)
    from it join pg_attribute a on a.attrelid = it.oid and a.attnum > 0 and not a.attisdropped
    where it.relkind = 'm' and a.attcompression in ('p', 'l')
    union all
    select 46, '', 0, null, format('alter table %s cluster on %I', called, c.relname)
    from it join pg_index i on i.indrelid = it.oid and i.indisclustered join pg_class c on c.oid = i.indexrelid where it.relkind = 'm'
    union all
    select 50, o.called, 0, format('alter sequence %s owned by none', o.called),
           format('alter sequence %s owned by %s.%I', o.called, it.called, o.attname)
    from owned o, it where o.deptype = 'a'
    union all
    select 51, o.called, 0, format('alter table %s alter column %I drop identity', it.aside, o.attname),
           format('alter table %s alter column %I add generated %s as identity (sequence name %s start with %s increment by %s'
                  ' minvalue %s maxvalue %s cache %s %s)', it.called, o.attname,
                  case o.attidentity when 'a' then 'always' else 'by default' end, o.called, o.seqstart, o.seqincrement, o.seqmin,
                  o.seqmax, o.seqcache, case when o.seqcycle then 'cycle' else 'no cycle' end)
    from owned o, it where o.deptype = 'i'
    union all
    select 53, o.called, 0, null, format('comment on sequence %s is %L', o.called, obj_description(o.oid, 'pg_class'::name))
    from owned o where o.deptype = 'i' and obj_description(o.oid, 'pg_class'::name) is not null
    union all
    select 60, t.tgname, 0, format('drop trigger %I on %s', t.tgname, it.aside), pg_get_triggerdef(t.oid) from own_trigger t, it
    union all
    select 61, t.tgname, 0, null,
           format('alter table %s %s trigger %I', it.called,
                  case t.tgenabled when 'D' then 'disable' when 'R' then 'enable replica' else 'enable always' end, t.tgname)
    from own_trigger t, it where t.tgenabled <> 'O'
    union all
    select 62, t.tgname, 0, null,
           format('comment on trigger %I on %s is %L', t.tgname, it.called, obj_description(t.oid, 'pg_trigger'::name))
    from own_trigger t, it where obj_description(t.oid, 'pg_trigger'::name) is not null
    union all
    select 63, p.polname, 0, null,
           format('comment on policy %I on %s is %L', p.polname, called, obj_description(p.oid, 'pg_policy'::name))
    from it join pg_policy p on p.polrelid = it.oid where obj_description(p.oid, 'pg_policy'::name) is not null
    union all
    select 70, '', 0, format('alter table %s replica identity default', aside),
           format('alter table %s replica identity %s', called,
                  case relreplident when 'f' then 'full' when 'n' then 'nothing' when 'd' then 'default'
                      else 'using index ' || (select quote_ident(c.relname) from pg_index i join pg_class c on c.oid = i.indexrelid
                                              where i.indrelid = it.oid and i.indisreplident) end)
    from it
    union all
    -- the owner may do all until it is told what it may, since what is kept up beside the table is written to
    select 80, who, 0, format('revoke all on %s from %s cascade', aside, who), null
    from (select distinct aside, who from granted where grantee <> (select relowner from it)) g
    union all
    select 81, '', 0, format('grant all on %s to %I', aside, pg_get_userbyid(relowner)),
           format('revoke all on %s from %I', called, pg_get_userbyid(relowner))
    from it where relacl is not null
    union all
    select 82, who, turn * 3 + x.part, null, x.said
    from (select *, row_number() over (order by number, place, is_grantable desc) as turn, (select relowner from it) as owner
          from granted) g,
         lateral (values (0, case when grantor <> owner then format('set local role %I', pg_get_userbyid(grantor)) end),
                         (1, format('grant %s on %s to %s%s', what, called, who,
                                    case when is_grantable then ' with grant option' else '' end)),
                         (2, case when grantor <> owner then format('set local role %I', current_user) end)) x (part, said)
    where x.said is not null
    union all
    select 85, p.pubname, 0, format('alter publication %I drop table %s', p.pubname, aside),
           format('alter publication %I add table %s', p.pubname, called)
           || coalesce(' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
                                from pg_attribute a where a.attrelid = it.oid and a.attnum = any(r.prattrs::int2[])) || ')', '')
           || coalesce(' where (' || pg_get_expr(r.prqual, r.prrelid) || ')', '')
    from it join pg_publication_rel r on r.prrelid = it.oid join pg_publication p on p.oid = r.prpubid
    union all
    select 90, v.called, 0, null,
           format('create or replace view %s%s as %s', v.called,
                  coalesce(' with (' || array_to_string(v.reloptions, ', ') || ')', ''), rtrim(pg_get_viewdef(v.oid), ';'))
    from view v
) belongings
order by phase, place, name
