-- whether it is there, and nothing where it is and may not be used by us: to_regclass is an error then
case
    when to_regnamespace('pgopt') is null then false
    when not has_schema_privilege('pgopt', 'USAGE') then null
    when to_regclass('pgopt.run') is null then false
    when has_table_privilege('pgopt.run', 'SELECT') and has_table_privilege('pgopt.run', 'INSERT')
         and has_table_privilege('pgopt.run', 'UPDATE') and has_table_privilege('pgopt.run', 'DELETE')
         and has_table_privilege('pgopt.progress', 'DELETE') and has_table_privilege('pgopt.undo', 'DELETE') then true
end
