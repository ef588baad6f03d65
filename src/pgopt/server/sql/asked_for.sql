-- Other chains of revisions that have asked for a version of the pgopt schema, or a later one; '' where that was done by hand.
select v.chain from pgopt.version v
where v.version >= {version} and v.chain <> {chain}
  -- one whose table of versions is gone needs it no more
  and (v.chain = '' or exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                               where v.chain in (c.relname, n.nspname || '.' || c.relname)))
order by v.chain
