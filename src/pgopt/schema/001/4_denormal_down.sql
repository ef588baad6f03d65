drop view pgopt.deferred_columns;
drop function pgopt.rows_gone(regclass);
drop function pgopt.waiting(text);
drop procedure pgopt.fold(regclass, text, integer);
drop function pgopt.deferred(regclass, text);
drop function pgopt.hold_target(integer, bigint);
drop function pgopt.hold_source(integer, bigint[]);
drop function pgopt.held(integer);
drop table pgopt.denormalized;
