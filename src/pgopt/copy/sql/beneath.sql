-- The type beneath a domain, and beneath the domain that it may be of, with the modifier that the innermost says.
with recursive it as (
    select t.oid, null::integer as modifier, 0 as depth from pg_type t where t.oid = {type}::regtype
    union all
    select t.typbasetype, t.typtypmod, it.depth + 1 from it join pg_type t on t.oid = it.oid and t.typtype = 'd'
)
select case when depth = 0 then {type} else format_type(oid, modifier) end from it order by depth desc limit 1
