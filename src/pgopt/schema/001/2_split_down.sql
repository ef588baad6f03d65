drop function pgopt.pieces_of_default(regclass, regclass, jsonb, integer);
drop function pgopt.pieces_of_range(regclass, jsonb, text, text, text, integer);
drop function pgopt.next_key(regclass, text, text, text);
drop function pgopt.ranges_of(regclass);
drop function pgopt.bound_of(regclass);
drop table pgopt.split;
