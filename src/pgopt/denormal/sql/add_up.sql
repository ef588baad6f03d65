if {recounted} then
    -- somebody has read rows of the source that this statement has written: they are not to count twice
    {read_again}
    return null;
end if;
if {one} then
    -- a statement of its own, whose plan is not made anew each time
    {lock_one}
    update {target} t set {merges_one} where {match_one};
    return null;
end if;
perform from {target} t join {key_rows} d ({names}) on {match} order by {order} for no key update of t;
update {target} t set {merges} from {rows} d ({fields}) where {match};
