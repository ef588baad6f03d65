-- What of a table cannot come along when another relation takes its place, each with its way out.
with it as (select c.*, c.oid::regclass::text as called from pg_class c where c.oid = {table})
select said from (
    select 1 as place, format('it is %s: ALTER TABLE %s SET LOGGED first',
                              case relpersistence when 'u' then 'unlogged' else 'temporary' end, called) as said
    from it where relpersistence <> 'p'
    union all
    select 2, 'it is part of an inheritance tree: ALTER TABLE ... NO INHERIT first'
    from it where exists (select from pg_inherits where it.oid in (inhrelid, inhparent)) and relkind = 'r'
    union all
    select 3, 'it is a typed table: ALTER TABLE ... NOT OF first' from it where reloftype <> 0
    union all
    select 4, format('it has the rule %I: use a trigger instead', r.rulename) from it join pg_rewrite r on r.ev_class = it.oid where it.relkind <> 'm'
    union all
    select 5, format('the exclusion constraint %I cannot be on a partitioned table: drop it', o.conname)
    from it join pg_constraint o on o.conrelid = it.oid where o.contype = 'x'
    union all
    select 6, format('trigger %I is for each row and has transition tables: make it FOR EACH STATEMENT', t.tgname)
    from it join pg_trigger t on t.tgrelid = it.oid
    where t.tgtype & 1 = 1 and (t.tgoldtable is not null or t.tgnewtable is not null) and not t.tgisinternal
    union all
    select 7, format('index %s is invalid: drop it, or op.reindex_concurrently(%L)', i.indexrelid::regclass, c.relname)
    from it join pg_index i on i.indrelid = it.oid join pg_class c on c.oid = i.indexrelid
    where not i.indisvalid and c.relname <> all({ours}::text[])
    union all
    select 8, format('constraint %I is NOT VALID: ALTER TABLE ... VALIDATE CONSTRAINT %1$I first', o.conname)
    from it join pg_constraint o on o.conrelid = it.oid where not o.convalidated and o.conname <> {proof}
    union all
    select 9, format('CHECK %I is NO INHERIT, which a partitioned table cannot have: drop it', o.conname)
    from it join pg_constraint o on o.conrelid = it.oid where o.connoinherit and o.contype = 'c'
    union all
    select 10, format('it is clustered on %s, which a partitioned table cannot be: ALTER TABLE ... SET WITHOUT CLUSTER first',
                      i.indexrelid::regclass)
    from it join pg_index i on i.indrelid = it.oid where i.indisclustered and it.relkind <> 'm'
    union all
    select 11, format('index %s has statistics targets: ALTER INDEX ... SET STATISTICS -1 first', i.indexrelid::regclass)
    from it join pg_index i on i.indrelid = it.oid
    where exists (select from pg_attribute a where a.attrelid = i.indexrelid and a.attstattarget >= 0)
    union all
    select 12, format('the index of constraint %I has storage parameters or a tablespace of its own: reset them', o.conname)
    from it join pg_constraint o on o.conrelid = it.oid join pg_class i on i.oid = o.conindid
    where o.contype in ('p', 'u') and (i.reloptions is not null or i.reltablespace <> 0)
    union all
    select 12, format('index %s has a tablespace of its own: ALTER INDEX ... SET TABLESPACE pg_default first', c.oid::regclass)
    from it join pg_index i on i.indrelid = it.oid join pg_class c on c.oid = i.indexrelid
    where it.relkind = 'm' and c.reltablespace <> 0
    union all
    select 14, 'a subscription writes to it, and statement triggers do not see that: take it out of the publication'
    from it where exists (select from pg_subscription_rel where srrelid = it.oid)
    union all
    select 15, 'it has a security label: SECURITY LABEL ... IS NULL first'
    from it where exists (select from pg_seclabel where objoid = it.oid)
    union all
    select 16, format('it belongs to extension %I: ALTER EXTENSION %1$I DROP ... first', e.extname)
    from it join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = it.oid and d.deptype = 'e'
    join pg_extension e on e.oid = d.refobjid
    union all
    select distinct 17, format('trigger %I keeps columns by it, and would not see its partitions: drop the denormalized columns first',
                               min(t.tgname::text))
    from it join pg_trigger t on t.tgrelid = it.oid where t.tgname ~ '^zz_pgopt_[0-9a-f]{{8}}_' group by left(t.tgname::text, 17)
    union all
    {bound}
) obstacles
order by place, said
