drop function pgopt.hold_target(integer, bigint);
drop function pgopt.hold_source(integer, bigint[]);
drop function pgopt.held(integer);
drop table pgopt.denormalized;
