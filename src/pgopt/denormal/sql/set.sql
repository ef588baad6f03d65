#variable_conflict use_column
begin
    {hold}
    select {values} into {columns} from {value}({keys}) v;
    perform pg_catalog.set_config('pgopt.recounted', {moment}, true);
    return new;
end
