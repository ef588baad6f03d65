(pg_identify_object('pg_class'::regclass, {relation}, 0)).identity
