drop function pgopt.reindex_bloated(text);
drop function pgopt.clear_reindex();
drop function pgopt.run_bare(text, text);
drop function pgopt.settle_reindexes(boolean);
drop function pgopt.begin_reindex(oid, bigint, boolean, text);
drop function pgopt.bloated_indexes(bigint);
drop function pgopt.measured_bloat(regclass);
drop table pgopt.reindex;
