-- A materialized view and those that read it directly, or one of those: each after what it reads.
select oid::int8 from (
    with recursive reads as (
        select distinct d.refobjid as source, c.oid as view
        from pg_depend d
        join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
        join pg_class c on c.oid = r.ev_class and c.relkind = 'm' and c.oid <> d.refobjid
        where d.refclassid = 'pg_class'::regclass
    ),
    on_top as (
        select {view}::oid as oid, 0 as depth
        union all
        select reads.view, t.depth + 1 from on_top t join reads on reads.source = t.oid
    )
    select oid, max(depth) as depth from on_top group by oid
) found
order by depth, oid
