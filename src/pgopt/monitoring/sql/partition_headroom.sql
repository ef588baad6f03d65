-- How long the partitions of tables that pgopt has partitioned will do, and how many rows are in the default, about.
select n.nspname::text as schema_name, c.relname::text as table_name, p.by ->> 'kind' as kind, p.premake, last.ends,
       case when p.by ->> 'kind' = 'time' then
           round((extract(epoch from pgopt.moment_of(p.by, last.ends) - now() at time zone coalesce(p.by ->> 'timezone', 'UTC'))
                  / 3600)::numeric, 1)
       end as hours_left,
       d.relname::text as default_partition,
       greatest(d.reltuples, pg_stat_get_live_tuples(d.oid))::bigint as default_rows
from pgopt.partitioned p
join pg_class c on c.oid = p.relation and c.relkind = 'p'
join pg_namespace n on n.oid = c.relnamespace
join pg_partitioned_table t on t.partrelid = c.oid
left join pg_class d on d.oid = nullif(t.partdefid, 0)
left join lateral (
    select bound.ends
    from pg_inherits h
    join pg_class child on child.oid = h.inhrelid,
    substring(pg_get_expr(child.relpartbound, child.oid) from ' TO [(]''?(.*?)''?[)]$') as bound (ends)
    where h.inhparent = c.oid and bound.ends is not null and bound.ends <> 'MAXVALUE'
    order by case when p.by ->> 'kind' = 'time' then extract(epoch from pgopt.moment_of(p.by, bound.ends))
                  else bound.ends::numeric end desc
    limit 1
) last on true
order by hours_left nulls last, 1, 2
