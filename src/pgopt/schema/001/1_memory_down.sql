drop table pgopt.undo;
drop table pgopt.progress;
drop table pgopt.run;
drop table pgopt.version;
drop schema pgopt;
