begin
    if pg_catalog.current_setting('pgopt.keeping', true) is distinct from 'on' then
        raise exception using errcode = 'generated_always', message = {message};
    end if;
    return new;
end
