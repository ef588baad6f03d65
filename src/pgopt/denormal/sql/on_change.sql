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
    {then}
    return null;
end
