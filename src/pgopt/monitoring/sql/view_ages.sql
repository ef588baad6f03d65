-- As of when the rows of materialized views are; pgopt knows of those that it has refreshed.
select schema_name::text, view_name::text, fresh_at, extract(epoch from age)::float8 as age, failures from pgopt.freshness
order by age desc nulls first, 1, 2
