#variable_conflict use_column
declare
    {variables};
begin
    {mine}
    {before}
    select {gathered} into {arrays} from ({changed}) d;
    {after}
    if {nothing} then
        return null;
    end if;
    {hold}
    {then}
    return null;
end
