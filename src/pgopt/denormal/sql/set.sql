#variable_conflict use_column
begin
    {hold}
    select {values} into {columns} from {value}({keys}) v;
    perform {recounted};
    return new;
end
