begin
    -- the row that was about to leave, as it was then: any other one is deleted
    perform pg_catalog.set_config({leaves}, case when {left} then 'gone' else '' end, true);
    return old;
end
