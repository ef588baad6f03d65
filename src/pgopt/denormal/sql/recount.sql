begin
    -- in one order, and before the source is read: what others have changed there is committed then
    if {one} then
        {set_one}
        return;
    end if;
    perform from {target} t join {rows} k ({names}) on {match} order by {order} for no key update of t;
    if found then
        update {target} t set ({columns}) = row ({results}) from {values}({arguments}) k where {match};
    end if;
end
