begin
    -- in one order, and before the source is read: what others have changed there is committed then
    if {one} then
        -- a statement of its own, whose plan is not made anew each time
        perform from {target} t where {match_one} order by {order} for no key update;
        if found then
            update {target} t set ({columns}) = (select v.* from {value}({only}) v) where {match_one};
        end if;
        return;
    end if;
    perform from {target} t join {rows} k ({names}) on {match} order by {order} for no key update of t;
    if found then
        update {target} t set ({columns}) = (select v.* from {value}({keys}) v) from {rows} k ({names}) where {match};
    end if;
end
