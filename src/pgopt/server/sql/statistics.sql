select s.stxrelid::int8,
       jsonb_build_object(
           'kinds', (select jsonb_agg(k order by k) from unnest(s.stxkind) k),
           'columns', (select jsonb_agg(a.attname order by a.attname) from pg_attribute a
                       where a.attrelid = s.stxrelid and a.attnum = any (s.stxkeys)),
           'expressions', pg_get_expr(s.stxexprs, s.stxrelid)
       )::text,
       pg_get_statisticsobjdef(s.oid),
       obj_description(s.oid, 'pg_statistic_ext'::name),
       nullif(s.stxstattarget, -1),
       case when pg_get_userbyid(s.stxowner) <> current_user then pg_get_userbyid(s.stxowner) end
from pg_statistic_ext s
join pg_namespace n on n.oid = s.stxnamespace
where {which}
