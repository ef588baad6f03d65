-- What the indexes of pieces lack of what the partition's have: for each index of the table the one that the pieces hang on meanwhile.
select said
from unnest({theirs}::text[], {ours}::text[]) p (theirs, ours)
join pg_inherits h on h.inhparent = to_regclass(p.theirs)
join pg_index x on x.indexrelid = h.inhrelid and x.indrelid = {part}
join pg_class c on c.oid = x.indexrelid
join pg_inherits o on o.inhparent = to_regclass(p.ours)
join pg_index y on y.indexrelid = o.inhrelid
join pg_class m on m.oid = y.indexrelid
cross join lateral pgopt.likeness_of_index(x.indexrelid, y.indexrelid) said
where (c.reloptions, c.reltablespace, x.indisreplident, x.indisclustered, obj_description(c.oid, 'pg_class'::name))
      is distinct from (m.reloptions, m.reltablespace, y.indisreplident, y.indisclustered, obj_description(m.oid, 'pg_class'::name))
