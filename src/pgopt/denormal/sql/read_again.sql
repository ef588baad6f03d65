#variable_conflict use_column
begin
    {hold}
    perform {recount}({arrays}) from ({changed}) d;
    return null;
end
