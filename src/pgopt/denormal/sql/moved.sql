begin
    {hold}
    update {target} t set ({columns}) = (select v.* from {value}({keys}) v) where {match};
    perform {recounted};
    return null;
end
