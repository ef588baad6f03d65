#variable_conflict use_column
declare
    pgopt_path pg_catalog.text := pg_catalog.current_setting('search_path');
    {variables};
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    select {gathered} into {arrays} from ({changed}) d;
    -- triggers of the target find what they look for where they always do
    perform pg_catalog.set_config('search_path', pgopt_path, true);
    if {nothing} then
        return null;
    end if;
    {hold}
    if {recounted} then
        -- somebody has read rows of the source that this statement has written: they are not to count twice
        perform {recount}({keys});
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
    return null;
end
