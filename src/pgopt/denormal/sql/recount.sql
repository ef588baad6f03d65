begin
    -- in one order, and before the source is read: what others have changed there is committed then
    perform from {target} t join {rows} k ({names}) on {match} order by {order} for no key update of t;
    if found then
        update {target} t set ({columns}) = (select v.* from {value}({keys}) v)
            from {rows} k ({names}) where {match};
    end if;
end
