#variable_conflict use_column
begin
    {value};
end
