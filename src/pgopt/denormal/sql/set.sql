#variable_conflict use_column
begin
    {hold}
    select {values} into {columns} from {value}({keys}) v;
    perform set_config('pgopt.recounted', extract(epoch from statement_timestamp())::text, true);
    return new;
end
