begin
    {hold}
    update {target} t set ({columns}) = (select v.* from {value}({keys}) v) where {match};
    perform pg_catalog.set_config('pgopt.recounted', {moment}, true);
    return null;
end
