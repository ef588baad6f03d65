-- The sequences of a table's identity columns, each with its owner and with what says who may do what with one that is made anew.
select s.oid::regclass::text, pg_get_userbyid(s.relowner), array[format('select pgopt.without_defaults(%L::regclass)', s.oid::regclass)] || array(
    select said from (
        select 0 as place, format('revoke all on sequence %s from %I', s.oid::regclass, pg_get_userbyid(s.relowner)) as said
        where s.relacl is not null
        union all
        select u.place, format('grant %s on sequence %s to %s%s', string_agg(x.privilege_type, ', '), s.oid::regclass,
                               case when x.grantee = 0 then 'public' else format('%I', pg_get_userbyid(x.grantee)) end,
                               case when x.is_grantable then ' with grant option' else '' end)
        from unnest(s.relacl) with ordinality u (item, place), aclexplode(array[u.item]) x
        group by u.place, x.grantee, x.is_grantable
    ) rights order by place
)
from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = {table} and d.deptype = 'i'
