for pgopt_attempt in 1 .. 100 loop
    begin
        {body}
        exit;
    exception when serialization_failure then
        -- a row went to another partition while it was waited for: a new statement finds it there, unless the snapshot is an old one
        if pgopt_attempt operator(pg_catalog.=) 100
           or pg_catalog.current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
            raise;
        end if;
    end;
end loop;
