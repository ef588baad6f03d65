#variable_conflict use_column
begin
    -- in one order, and before the source is read: what others have changed there is committed then
    perform from {target} t join unnest({arguments}) k ({names}) on {match} order by {order} for no key update of t;
    if found then
        update {target} t set ({columns}) = ({value}) from unnest({arguments}) k ({names}) where {match};
    end if;
end
