#variable_conflict use_column
begin
    {hold}
    if current_setting('pgopt.recounted', true) = extract(epoch from statement_timestamp())::text then
        -- somebody has read rows of the source that this statement has written: they are not to count twice
        perform {recount}({arrays}) from ({changed}) d;
        return null;
    end if;
    if {several} then
        perform from {target} t join ({changed}) d on {match} order by {order} for no key update of t;
        if not found then
            return null;
        end if;
    end if;
    update {target} t set {merges} from ({changed}) d where {match};
    return null;
end
