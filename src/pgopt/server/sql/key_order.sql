-- The columns of a key, each with its type, that by which its values are compared, and the operators which put rows in order:
-- those of the type's own operator class for btree, as ORDER BY takes them. A bare operator is looked up on the search path, where
-- there may be none but that of another type.
with recursive part (position, name, kind) as (
    select k.position, a.attname, a.atttypid
    from unnest({key}::text[]) with ordinality k (name, position)
    join pg_attribute a on a.attrelid = {table} and a.attname = k.name and not a.attisdropped
    union all
    select p.position, p.name, t.typbasetype from part p join pg_type t on t.oid = p.kind where t.typtype = 'd'
)
select p.name::text as name,
       format_type(p.kind, -1) as kind,
       n.nspname::text as kind_schema,
       format_type(coalesce(o.compared, p.kind), -1) as compared,
       o.operators,
       coalesce(o.seen, false) as seen
from part p
join pg_type t on t.oid = p.kind and t.typtype <> 'd'
join pg_namespace n on n.oid = t.typnamespace
left join lateral (
    select case when c.opcintype = p.kind or i.typtype <> 'p' then c.opcintype end as compared,
           array(select format('operator(%I.%s)', s.nspname, r.oprname)
                 from pg_amop m join pg_operator r on r.oid = m.amopopr join pg_namespace s on s.oid = r.oprnamespace
                 where m.amopfamily = c.opcfamily and (m.amoplefttype, m.amoprighttype) = (c.opcintype, c.opcintype)
                 order by m.amopstrategy) as operators,
           (select bool_and(pg_operator_is_visible(r.oid) and r.oprname = (array['<', '<=', '=', '>=', '>'])[m.amopstrategy])
            from pg_amop m join pg_operator r on r.oid = m.amopopr
            where m.amopfamily = c.opcfamily and (m.amoplefttype, m.amoprighttype) = (c.opcintype, c.opcintype)) as seen
    from pg_opclass c join pg_am h on h.oid = c.opcmethod join pg_type i on i.oid = c.opcintype
    where h.amname = 'btree' and c.opcdefault and (
        c.opcintype = p.kind
        or exists (select from pg_cast b where (b.castsource, b.casttarget, b.castmethod, b.castcontext) = (p.kind, c.opcintype, 'b', 'i'))
        or c.opcintype = case
            when t.typcategory = 'A' then 'anyarray'::regtype
            when t.typtype = 'e' then 'anyenum'::regtype
            when t.typtype = 'r' then 'anyrange'::regtype
            when t.typtype = 'm' then 'anymultirange'::regtype
            when t.typtype = 'c' then 'record'::regtype
        end)
    order by c.opcintype = p.kind desc, i.typispreferred desc
    limit 1
) o on true
order by p.position
