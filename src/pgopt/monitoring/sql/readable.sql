-- Whether there is such a relation in the pgopt schema, and we may read it; to_regclass() would fail without the right to look.
select exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'pgopt' and c.relname = {name}
      and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
)
