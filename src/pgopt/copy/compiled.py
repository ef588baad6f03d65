"""PL/pgSQL functions with variables of a row type: sessions keep them compiled for what had the place of a relation before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.copy.shape import PACKAGE
from pgopt.plan.step import Step
from pgopt.server.queries import query
from pgopt.server.quoting import dollars, ident, literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog


class Compiled:
    """The functions whose source says the names of relations that others take: to be compiled anew once they have them."""

    def __init__(self, schema: str | None, *names: str) -> None:
        self.schema = schema
        self.names = names
        self._there = False
        self._ours: list[int] = []

    def look(self) -> Step:
        """Look them up before an attempt: under the lock the sources of all functions would take too long to read."""
        return Step(f"see which functions name {self.names[0]}", [], done=lambda db: not self._find(db))

    def _find(self, db: Catalog) -> bool:
        found = _functions(db, self.names)
        self._there = bool(found)
        self._ours = [oid for oid, is_ours, *_ in found if is_ours]
        return self._there

    def renew(self) -> Iterator[Composable]:
        """Have all sessions compile them anew; the last thing in the transaction of the swap.

        PL/pgSQL does so when the function's row in the catalog is another one. RESET of what a function does not set writes it and changes
        nothing, whatever somebody else has changed of it meanwhile.

        That is at the next call. One that waits for the table goes on with what it has, so its plans must be made again: those of `s := r`
        know the type, but depend on no table. PostgreSQL makes all plans again after a change of any operator, so there is one for an instant.
        It is made in the schema in which relations are renamed, which takes the same right.
        """
        if self._there:
            yield sql(
                "create operator {}.@#@#@#@ (function = pg_catalog.int4eq, leftarg = int4, rightarg = int4)",
                ident(self.schema),
            )
            yield sql("drop operator {}.@#@#@#@ (int4, int4)", ident(self.schema))
        if self._ours:
            yield dollars(lambda tag: sql(_RENEW, tag=tag, functions=literal(self._ours)))


# Whoever changes a function at this moment is waited for, as for a lock, and then its row is read again. What became somebody else's
# is left alone.
_RENEW = """do {tag}
declare
    it oid;
    change text;
begin
    foreach it in array {functions}::oid[] loop
        for attempt in 1..20 loop
            begin
                select format('alter %s %I.%I(%s) reset %s', case p.prokind when 'p' then 'procedure' else 'function' end,
                              n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), unset.name)
                into change
                from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
                     lateral (select s.name from unnest(array['application_name', 'geqo_seed', 'xmloption', 'xmlbinary']) s (name)
                              where not exists (select from unnest(p.proconfig) c where c ilike s.name || '=%')
                              limit 1) unset
                where p.oid = it;
                if found then
                    execute change;
                end if;
                exit;
            exception
                when internal_error or undefined_function or invalid_schema_name then
                    if attempt = 20 then
                        raise exception using errcode = 'lock_not_available', message = sqlerrm;
                    end if;
                when insufficient_privilege then
                    exit;
            end;
        end loop;
    end loop;
end
{tag}"""


def notes(db: Catalog, *names: str) -> list[str]:
    """Say of which functions sessions would keep what they have compiled, since another role owns them."""
    return [
        f"function {name} is {owner}'s: if it has a variable of the row type of {' or '.join(names)}, sessions that have called it"
        f" get an error from it after the swap, until they reconnect or {owner} sends {change!r}"
        for _, is_ours, name, owner, change in _functions(db, names)
        if not is_ours
    ]


def _functions(db: Catalog, names: Sequence[str]) -> Sequence[tuple[int, bool, str, str, str]]:
    found: Sequence[tuple[int, bool, str, str, str]] = db.session.rows(
        query("compiled", PACKAGE, names=literal([*names]))
    )
    return found
