begin
    perform pg_catalog.set_config({leaves}, {old}, true), pg_catalog.set_config({comes}, {new}, true);
    return new;
end
