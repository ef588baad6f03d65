
declare
    -- so much is read, and so long, whoever only wants to look
    most bigint := pg_size_bytes(coalesce(nullif(current_setting('pgopt.measured_size', true), ''), '256 MB'));
    until constant timestamptz := clock_timestamp() + interval '0.5 seconds';
    it record;
begin
    for it in
        select b.*, c.oid as index, c.relpersistence <> 't' and case when b.unreliable is null then b.bloat_bytes else b.bytes end >= 1024 * 1024 as matters
        from pgopt.index_bloat() b
        join pg_namespace n on n.nspname = b.schema_name
        join pg_class c on c.relnamespace = n.oid and c.relname = b.index_name
        order by case when b.unreliable is null then b.bloat_bytes else b.bytes end desc
    loop
        select it.schema_name, it.table_name, it.index_name, it.definition, it.bytes, it.bloat_bytes, it.bloat_percent, it.unreliable, false
        into schema_name, table_name, index_name, definition, bytes, bloat_bytes, bloat_percent, unreliable, measured;
        if it.matters and it.bytes <= most and clock_timestamp() < until then
            most := most - it.bytes;
            bloat_bytes := pgopt.measured_bloat(it.index);
            measured := bloat_bytes is not null;
            if measured then
                bloat_percent := round(100 * bloat_bytes / it.bytes::numeric, 1);
                unreliable := null;
            else
                bloat_bytes := it.bloat_bytes;
            end if;
        end if;
        return next;
    end loop;
end
