-- What of the publications of a table stands against another taking its place there, each with the way out. To be read with an
-- empty search path.
with it as (select c.*, c.oid::regclass::text as called from pg_class c where c.oid = {table}),
published as (
    select p.*, r.prattrs, null::text as whole from it join pg_publication_rel r on r.prrelid = it.oid join pg_publication p on p.oid = r.prpubid
    union all
    select p.*, null, case when p.puballtables then 'FOR ALL TABLES' else 'FOR TABLES IN SCHEMA' end
    from it, pg_publication p
    where p.puballtables or exists (select from pg_publication_namespace n where n.pnpubid = p.oid and n.pnnspid = it.relnamespace)
)
select said from (
    select 1 as place, format('it is published by %I: publish=''root'' lets the partitioned table take its place there, or ALTER PUBLICATION %1$I %s first',
                              pubname, coalesce('SET TABLE, instead of ' || whole, 'DROP TABLE ' || called)) as said
    from it, published where not {publish}
    union all
    select 2, format('publication %I is %s, and would publish the copy while it is filled: method=''attach'' copies nothing, or make it FOR TABLE',
                     pubname, whole)
    from published where whole is not null and {copied}
    union all
    select 3, format('publication %I would publish partitions under names that its subscribers do not have:'
                     ' ALTER PUBLICATION %1$I SET (publish_via_partition_root = true) first', pubname)
    from published where {publish} and not pubviaroot
    union all
    select 4, format('publication %I belongs to %I, and the table is taken out and put in: be a member of that role', pubname, pg_get_userbyid(pubowner))
    from published where {publish} and whole is null and not pg_has_role(pubowner, 'USAGE')
    union all
    select 5, format('publication %I has not column %I, by which rows will be told apart, and they could not be updated or deleted:'
                     ' ALTER PUBLICATION %1$I SET TABLE with that column first', pubname, a.attname)
    from it, published p, pg_attribute a
    where {publish} and a.attrelid = it.oid and a.attname = {column} and a.attnum <> all(p.prattrs::int2[])
      and (p.pubupdate or p.pubdelete) and it.relreplident in ('d', 'i')
) obstacles
order by place, said
