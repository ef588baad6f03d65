if {one} then
    {set_one}
else
    perform {recount}({arrays});
end if;
