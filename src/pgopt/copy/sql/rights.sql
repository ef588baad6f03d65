-- What the role that asks has no right to make anew, or to give to whom it belongs, each with the grant that it takes: of some tables and
-- materialized views, of which those in {moved} give all that belongs to them to others, and of those in {anew} others are made.
with me as (
    select current_user as name, session_user as login, r.rolsuper, r.rolinherit, v >= 160000 as has_options,
           -- what ALTER ... OWNER TO and SET ROLE take
           case when v >= 160000 then 'SET' else 'MEMBER' end as to_be,
           -- since then, USAGE on a type is asked for in expressions, too
           v >= 180005 or v between 170011 and 179999 or v between 160015 and 169999 or v between 150019 and 159999 as reads_expressions
    from current_setting('server_version_num') s, cast(s as int) v, pg_roles r where r.rolname = current_user
),
it as (
    select c.*, c.oid = any({moved}::oid[]) as moved, c.oid = any({anew}::oid[]) as anew,
           -- of a materialized view another is always made, if only with another query
           c.relkind = 'm' or c.oid = any({anew}::oid[]) as dressed
    from pg_class c where c.oid = any({tables}::oid[])
),
view as (
    select distinct v.oid, v.relowner, v.relnamespace
    from it
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = it.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
    join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
    where it.moved
),
own_trigger as (
    -- those for each row come about on each new partition, too
    select t.* from pg_trigger t join it on t.tgrelid = it.oid join pg_proc f on f.oid = t.tgfoid
    where not t.tgisinternal and t.tgparentid = 0 and f.pronamespace is distinct from to_regnamespace('pgopt')
      and (it.moved or t.tgtype & 1 = 1)
),
own_key as (
    select c.* from pg_constraint c join it on c.conrelid = it.oid where c.contype = 'f' and c.conparentid = 0
),
made as (
    -- as its owner: whether that takes the rights of the owner; given: whether it is made as our own, and then given to the owner
    select pg_describe_object('pg_class'::regclass, oid, 0) as called, relowner as owner, case when moved or dressed then relnamespace end as place,
           true as as_owner, dressed as given
    from it
    union all
    select pg_describe_object('pg_class'::regclass, oid, 0), relowner, relnamespace, true, false from view
    union all
    select pg_describe_object('pg_statistic_ext'::regclass, s.oid, 0), s.stxowner, s.stxnamespace,
           s.stxstattarget >= 0 or obj_description(s.oid, 'pg_statistic_ext'::name) is not null or not pg_has_role(n.nspowner, 'USAGE'), true
    from it join pg_statistic_ext s on s.stxrelid = it.oid join pg_namespace n on n.oid = s.stxnamespace where it.moved
),
needed as (
    select 31 as number, format('%s belongs to role %I', called, pg_get_userbyid(owner)) as said, owner as role, me.name as who,
           coalesce(as_owner, false) and not pg_has_role(owner, 'USAGE') as to_inherit, given and not pg_has_role(owner, me.to_be) as to_set
    from made, me
    union all
    select distinct 34, format('rights on %s were granted by role %I', it.oid::regclass, pg_get_userbyid(x.grantor)), x.grantor, me.login,
           false, not pg_has_role(me.login, x.grantor, me.to_be)
    from me, it, lateral (select it.relacl union all select a.attacl from pg_attribute a where a.attrelid = it.oid and not a.attisdropped) l (acl),
         aclexplode(l.acl) x
    where it.moved and x.grantor <> it.relowner
),
spoken as (
    select n.*, r.rolname, r.rolsuper, pg_has_role(n.who, n.role, 'MEMBER') as is_member,
           (select w.rolinherit from pg_roles w where w.rolname = n.who) as inherits
    from needed n join pg_roles r on r.oid = n.role where to_inherit or to_set
),
uses as (
    select a.atttypid as type, 'pg_class'::regclass as class, a.attrelid as object, a.attnum as part
    from pg_attribute a
    where a.attrelid in (select oid from it where anew union select oid from view) and a.attnum > 0 and not a.attisdropped
    union all
    select d.refobjid, d.classid, d.objid, d.objsubid
    from pg_depend d
    where d.refclassid = 'pg_type'::regclass and (select reads_expressions from me) and (d.classid, d.objid) in (
        select 'pg_attrdef'::regclass::oid, x.oid from pg_attrdef x join it on it.oid = x.adrelid where it.anew
        union all select 'pg_constraint'::regclass, x.oid from pg_constraint x join it on it.oid = x.conrelid where it.anew and x.contype = 'c'
        union all select 'pg_class'::regclass, x.indexrelid from pg_index x join it on it.oid = x.indrelid where it.dressed
        union all select 'pg_policy'::regclass, x.oid from pg_policy x join it on it.oid = x.polrelid where it.moved
        union all select 'pg_statistic_ext'::regclass, x.oid from pg_statistic_ext x join it on it.oid = x.stxrelid where it.moved
        union all select 'pg_trigger'::regclass, x.oid from own_trigger x
        union all select 'pg_rewrite'::regclass, x.oid from pg_rewrite x join it on it.oid = x.ev_class where it.anew and it.relkind = 'm'
        union all select 'pg_rewrite'::regclass, x.oid from pg_rewrite x join view on view.oid = x.ev_class
    )
),
refused as (
    -- an array has the rights of its elements, and a multirange those of its range
    select coalesce((select e.oid from pg_type e where e.typarray = u.type), (select r.rngtypid from pg_range r where r.rngmultitypid = u.type), u.type) as type,
           pg_describe_object(u.class, u.object, u.part) as what
    from uses u where not has_type_privilege(u.type, 'USAGE')
)
select said from (
    select number, format('%s: %s', said, case
        when s.rolsuper then 'let that role run this, or drop it before and create it after'
        when me.has_options then format('GRANT %I TO %I', rolname, who)
            || coalesce(' WITH ' || nullif(concat_ws(', ', case when to_inherit and (is_member or not inherits) then 'INHERIT TRUE' end,
                                                     case when to_set and is_member then 'SET TRUE' end), ''), '')
        else concat_ws('; ', case when not is_member then format('GRANT %I TO %I', rolname, who) end,
                       case when to_inherit and not inherits then format('ALTER ROLE %I INHERIT', who) end)
    end) as said
    from spoken s, me
    union all
    select 32, format('%s is made anew in its schema: GRANT %s ON SCHEMA %s TO %I', called,
                      concat_ws(', ', case when not has_schema_privilege(place, 'USAGE') then 'USAGE' end,
                                case when not has_schema_privilege(place, 'CREATE') then 'CREATE' end), place::regnamespace, me.name)
    from made, me where not has_schema_privilege(place, 'USAGE') or not has_schema_privilege(place, 'CREATE')
    union all
    -- which its owner may have taken away from itself; a partition that was split is kept, and empty
    select 30, format('%s is read%s, and what changes in it is noted by triggers: GRANT %s ON TABLE %1$s TO %4$I', it.oid::regclass,
                      case when it.relispartition then ' and emptied' else '' end, string_agg(needed, ', ' order by place), min(me.name))
    from it, me, unnest(array['SELECT', 'TRIGGER', 'TRUNCATE']) with ordinality n (needed, place)
    where it.anew and it.relkind <> 'm' and not has_table_privilege(it.oid, needed) and (needed <> 'TRUNCATE' or it.relispartition)
    group by it.oid, it.relispartition
    union all
    -- that of an identity column is made anew where it was
    select 30, format('sequence %s is read: GRANT SELECT ON SEQUENCE %1$s TO %I', s.oid::regclass, me.name)
    from it join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = it.oid and d.classid = 'pg_class'::regclass and d.deptype = 'i'
    join pg_class s on s.oid = d.objid and s.relkind = 'S', me
    where it.moved and not has_table_privilege(s.oid, 'SELECT')
    union all
    -- superusers give what they have made to anybody
    select 33, format('%s is made anew, and its owner may not have it in its schema: GRANT CREATE ON SCHEMA %s TO %I', called, place::regnamespace, o.rolname)
    from made, me, pg_roles o
    where given and o.oid = owner and o.rolname <> me.name and not me.rolsuper and not has_schema_privilege(owner, place, 'CREATE')
    union all
    select 35, format('trigger %I calls %s: GRANT EXECUTE ON FUNCTION %2$s TO %I', t.tgname, t.tgfoid::regprocedure, me.name)
    from own_trigger t, me where not has_function_privilege(t.tgfoid, 'EXECUTE')
    union all
    select distinct 36, format('trigger %I calls %s: GRANT USAGE ON SCHEMA %s TO %I', t.tgname, f.oid::regprocedure, f.pronamespace::regnamespace, me.name)
    from own_trigger t join it on it.oid = t.tgrelid and it.moved join pg_proc f on f.oid = t.tgfoid, me
    where not has_schema_privilege(f.pronamespace, 'USAGE')
    union all
    select 38, format('foreign key %I refers to %s: GRANT REFERENCES ON TABLE %2$s TO %I', c.conname, c.confrelid::regclass, me.name)
    from own_key c, me
    where exists (select from unnest(c.confkey) k where not has_column_privilege(c.confrelid, k, 'REFERENCES'))
    union all
    select distinct 39, format('foreign key %I refers to %s: GRANT USAGE ON SCHEMA %s TO %I', c.conname, c.confrelid::regclass, r.relnamespace::regnamespace, me.name)
    from own_key c join pg_class r on r.oid = c.confrelid, me where not has_schema_privilege(r.relnamespace, 'USAGE')
    union all
    select 37, format('type %s is used by %s: GRANT USAGE ON TYPE %1$s TO %3$I', r.type::regtype, string_agg(distinct r.what, ', '), min(me.name))
    from refused r, me group by r.type
) rights
order by number, said
