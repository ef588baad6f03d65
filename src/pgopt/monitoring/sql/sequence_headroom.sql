-- How far sequences are from the greatest number that they, or the columns that they fill, can hold.
with used as (
    select s.seqrelid, a.attrelid, a.attname, a.atttypid
    from pg_sequence s
    left join lateral (
        select d.refobjid as attrelid, d.refobjsubid as attnum from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = s.seqrelid and d.refclassid = 'pg_class'::regclass
          and d.deptype in ('a', 'i') and d.refobjsubid > 0
        union
        select f.adrelid, f.adnum from pg_depend d join pg_attrdef f on f.oid = d.objid
        where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = s.seqrelid
    ) c on true
    left join pg_attribute a on (a.attrelid, a.attnum) = (c.attrelid, c.attnum)
    where not s.seqcycle
), limits as (
    select u.*, q.schemaname, q.sequencename, coalesce(q.last_value, q.start_value) as last_value, q.increment_by, q.start_value,
           case when q.increment_by > 0
               then least(q.max_value, case u.atttypid when 'int2'::regtype then 32767 when 'int4'::regtype then 2147483647
                                       else 9223372036854775807 end)
               else greatest(q.min_value, case u.atttypid when 'int2'::regtype then -32768 when 'int4'::regtype then -2147483648
                                          else -9223372036854775808 end)
           end as ends_at
    from used u
    join pg_class c on c.oid = u.seqrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_sequences q on (q.schemaname, q.sequencename) = (n.nspname, c.relname)
)
select l.schemaname::text as schema_name, l.sequencename::text as sequence_name, l.attrelid::regclass::text as table_name,
       l.attname::text as column_name, format_type(l.atttypid, null) as column_type, l.last_value, l.ends_at,
       trunc(100 * (l.last_value::numeric / nullif(l.ends_at, 0)), 1) as used_percent,
       div(l.ends_at::numeric - l.last_value, l.increment_by) as numbers_left
from limits l
where l.schemaname <> 'pgopt'
order by used_percent desc nulls last, 1, 2, 3, 4
