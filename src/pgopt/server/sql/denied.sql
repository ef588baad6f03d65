-- the server names what it refuses, but not its schema
select exists (
    (select n.nspname as name from pg_namespace n
    where n.nspname = 'pgopt' and not (has_schema_privilege(n.oid, 'USAGE') and has_schema_privilege(n.oid, 'CREATE'))
    union all
    select c.relname from pg_class c
    where c.relnamespace = to_regnamespace('pgopt') and c.relkind in ('r', 'p', 'v')
      and not (has_table_privilege(c.oid, 'SELECT') and has_table_privilege(c.oid, 'INSERT')
               and has_table_privilege(c.oid, 'UPDATE') and has_table_privilege(c.oid, 'DELETE'))
    union all
    select p.proname from pg_proc p
    where p.pronamespace = to_regnamespace('pgopt') and not has_function_privilege(p.oid, 'EXECUTE'))
    intersect
    select regexp_split_to_table({message}, '[^[:alnum:]_$]+')
)
