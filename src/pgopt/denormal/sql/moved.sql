#variable_conflict use_column
begin
    {hold}
    update {target} t set ({columns}) = (select v.* from {value}({keys}) v) where {match};
    perform set_config('pgopt.recounted', extract(epoch from statement_timestamp())::text, true);
    return null;
end
