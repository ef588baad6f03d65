-- Why a table cannot become a partition of another without work under locks, each with the way out. To be read with an empty search path.
with parent as (select c.*, c.oid::regclass::text as called from pg_class c where c.oid = {table}),
part as (select c.*, c.oid::regclass::text as called from pg_class c where c.oid = {part}),
columns as (
    select a.attrelid, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type, a.attcollation, a.attnotnull, a.attidentity,
           a.attgenerated, case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end as generated
    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid in ({table}, {part}) and a.attnum > 0 and not a.attisdropped
),
indexes as (
    select i.indrelid, c.relname, i.indisunique, o.contype::text as key, o.condeferrable, o.condeferred,
           regexp_replace(substr(pg_get_indexdef(c.oid), strpos(pg_get_indexdef(c.oid), ' USING ')), ' WITH [(][^)]*[)]( WHERE .*)?$', e'\\1') as tail
    from pg_index i join pg_class c on c.oid = i.indexrelid left join pg_constraint o on o.conindid = c.oid and o.contype in ('p', 'u')
    where i.indrelid in ({table}, {part}) and i.indisvalid
      -- those of half a partition are attached still
      and not exists (select from pg_inherits h join pg_index o on o.indexrelid = h.inhparent
                      where h.inhrelid = c.oid and i.indrelid = {part} and o.indrelid <> {table})
)
select said from (
    select 1 as place, format('it is not a plain table of its own, logged like %s', parent.called) as said
    from part, parent where part.relkind <> 'r' or part.relpersistence <> parent.relpersistence
        or exists (select from pg_inherits where (inhrelid = part.oid and inhparent <> parent.oid) or inhparent = part.oid)
    union all
    select 2, format('it has no column %I of type %s: add it', p.name, p.type)
    from columns p where p.attrelid = {table} and not exists (
        select from columns c where c.attrelid = {part} and (c.name, c.type, c.attcollation) = (p.name, p.type, p.attcollation))
    union all
    select 3, format('its column %I is not in the partitioned table, or is of another type or collation: drop it', c.name)
    from columns c where c.attrelid = {part} and not exists (
        select from columns p where p.attrelid = {table} and (c.name, c.type, c.attcollation) = (p.name, p.type, p.attcollation))
    union all
    select 4, format('its column %I may be NULL: op.set_not_null_online(%L, %L) first', c.name, part.relname, c.name)
    from part, columns c join columns p on p.name = c.name and p.attrelid = {table}
    where c.attrelid = {part} and p.attnotnull and not c.attnotnull
    union all
    select 5, format('its column %I is not generated as in the partitioned table: make them the same', c.name)
    from columns c join columns p on p.name = c.name and p.attrelid = {table}
    where c.attrelid = {part} and (c.attgenerated, c.generated) is distinct from (p.attgenerated, p.generated)
    union all
    select 6, format('its column %I is an identity: ALTER COLUMN ... DROP IDENTITY first', c.name)
    from columns c where c.attrelid = {part} and c.attidentity <> '' and current_setting('server_version_num')::int >= 170000
    union all
    select 7, format('it has not the constraint %I %s: op.create_%s_constraint_online first', o.conname, pg_get_constraintdef(o.oid), 'check')
    from pg_constraint o where o.conrelid = {table} and o.contype = 'c' and not exists (
        select from pg_constraint c where c.conrelid = {part} and c.conname = o.conname and c.contype = 'c' and c.convalidated
            and pg_get_constraintdef(c.oid) = pg_get_constraintdef(o.oid))
    union all
    select 8, format('it has no foreign key %s that is valid: op.create_foreign_key_online first', pg_get_constraintdef(o.oid))
    from pg_constraint o where o.conrelid = {table} and o.contype = 'f' and o.conparentid = 0 and not exists (
        select from pg_constraint c where c.conrelid = {part} and c.contype = 'f' and c.convalidated
            and pg_get_constraintdef(c.oid) = pg_get_constraintdef(o.oid))
    union all
    select 9, format('it has no %s like %I (%s): %s first',
                     case key when 'p' then 'primary key' when 'u' then 'unique constraint' else 'index' end, i.relname, ltrim(i.tail),
                     case key when 'p' then 'op.create_primary_key_online' when 'u' then 'op.create_unique_constraint_online'
                              else 'op.create_index_concurrently' end)
    from indexes i where i.indrelid = {table} and not exists (
        select from indexes c where c.indrelid = {part} and (c.indisunique, c.tail) = (i.indisunique, i.tail)
            and (c.key, c.condeferrable, c.condeferred) is not distinct from (i.key, i.condeferrable, i.condeferred))
    union all
    select 10, format('its trigger %I is for each row and has transition tables: make it FOR EACH STATEMENT', t.tgname)
    from pg_trigger t where t.tgrelid = {part} and t.tgtype & 1 = 1 and (t.tgoldtable is not null or t.tgnewtable is not null)
    union all
    select 11, format('it has a trigger %I, as %s has: drop it', t.tgname, parent.called)
    from parent, pg_trigger t join pg_trigger c on c.tgname = t.tgname and c.tgrelid = {part}
    where t.tgrelid = {table} and t.tgtype & 1 = 1 and not t.tgisinternal and not c.tgisinternal
    union all
    select 12, format('changes of %s are noted for its copy or for its way back: op.finalize_partitioning(%L) first', parent.called, parent.relname)
    from parent where exists (select from pg_trigger t where t.tgrelid = parent.oid and t.tgname = 'pgopt_insert')
    union all
    select distinct 13, 'triggers keep columns from it, which see nothing of what is written through ' || parent.called || ': drop those columns first'
    from parent, pg_trigger t where t.tgrelid = {part} and t.tgname ~ '^zz_pgopt_[0-9a-f]{{8}}_'
    union all
    select distinct 14, 'triggers keep columns from ' || parent.called || ', which would see nothing of rows that come with it: drop those columns first'
    from parent, pg_trigger t where t.tgrelid = parent.oid and t.tgname ~ '^zz_pgopt_[0-9a-f]{{8}}_(insert|update|delete|truncate)$'
) misfits
order by place, said
