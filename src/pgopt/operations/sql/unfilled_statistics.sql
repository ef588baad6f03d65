-- Whether a relation with rows has extended statistics that ANALYZE has not filled.
select exists (
    select from pg_statistic_ext s
    join pg_class c on c.oid = s.stxrelid
    join pg_namespace n on n.oid = s.stxnamespace
    where c.oid = to_regclass({view}) and c.reltuples > 0 and s.stxstattarget is distinct from 0
      and not exists (select from pg_stats_ext x where (x.statistics_schemaname, x.statistics_name) = (n.nspname, s.stxname))
)
