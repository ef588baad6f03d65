-- PL/pgSQL functions and procedures whose source names a relation as a word, and whether ALTER of them is for us to say. Names in
-- quotes, in capitals, or of the same name in another schema count, too: one function too many is harmless.
select p.oid::bigint,
       pg_has_role(p.proowner, 'usage') and has_schema_privilege(p.pronamespace, 'usage'),
       format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
       pg_get_userbyid(p.proowner)::text,
       case when p.prokind = 'p'
           then format('alter procedure %I.%I(%s) security %s', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid),
                       case when p.prosecdef then 'definer' else 'invoker' end)
           else format('alter function %I.%I(%s) %s', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid),
                       case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end)
       end
from pg_proc p
join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
join pg_namespace n on n.oid = p.pronamespace and n.nspname <> 'pgopt'
where p.prosrc ~* (select '(^|[^[:alnum:]_$])('
                          || string_agg(regexp_replace(replace(name, '"', '""'), '([^[:alnum:]_])', e'\\\\\\1', 'g'), '|')
                          || ')($|[^[:alnum:]_$])'
                   from unnest({names}::text[]) name)
order by 3
