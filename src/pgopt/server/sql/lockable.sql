-- Of relations that are wanted by name, the places of those of which LOCK TABLE is refused to us, and whether we may do what the owner may.
select w.place - 1, pg_has_role(c.relowner, 'usage')
from unnest({names}::text[], {needs}::text[]) with ordinality w (name, needs, place)
join pg_class c on c.oid = to_regclass(w.name)
where not has_table_privilege(c.oid, w.needs)
