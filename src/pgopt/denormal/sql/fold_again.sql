#variable_conflict use_column
declare
    {variables};
    pgopt_last pg_catalog.int8;
    pgopt_at pg_catalog.timestamptz;
begin
    {again}
end
