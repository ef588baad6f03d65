"""Views that show what slows a database down, for people and for whoever has pg_monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt import monitoring
from pgopt.errors import INSTALL, NotInstalled
from pgopt.monitoring import ALL_VIEWS, FUNCTIONS, READERS, SLOW_QUERIES
from pgopt.operations.base import StateOperation, operation
from pgopt.plan.step import Step
from pgopt.server.quoting import block, ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.undo import Kept


@operation("install_monitoring")
class InstallMonitoring(StateOperation):
    """Make views in the `pgopt` schema that show slow queries, unused and bloated indexes, who blocks whom, and the like.

    A role with pg_monitor may read them, and nobody else. Locks nothing that is there before. Those of an older pgopt are made
    anew, which takes ACCESS EXCLUSIVE on them for an instant; whoever else was granted them still has them. Needs `install_pgopt`::

        op.install_monitoring()
    """

    def reverse(self) -> UninstallMonitoring:
        return UninstallMonitoring()

    def plan(self, db: Catalog) -> Iterator[Step]:
        if db.online and not db.installed():
            raise NotInstalled(f"the views are made in the pgopt schema: add `{INSTALL}` to an earlier revision")
        make = block([*monitoring.statements(), *_grants(), _signed()])
        anew = not db.online or (_installed(db) and not _up_to_date(db))
        before, after = ([*_remembered(db), verbatim(_GRANTED), *_drop()], [verbatim(_GRANT)]) if anew else ([], [])
        yield Step(
            f"make the views of pgopt's monitoring{' anew' if anew and db.online else ''}",
            [verbatim(_SEARCH_PATH), *before, make, *after],
            done=_up_to_date,
        )


@operation("uninstall_monitoring")
class UninstallMonitoring(StateOperation):
    """Drop the views that `install_monitoring` made; ACCESS EXCLUSIVE on them for an instant.

    On a downgrade of a revision that found those of an older pgopt, they stay::

        op.uninstall_monitoring()
    """

    def reverse(self) -> InstallMonitoring:
        return InstallMonitoring()

    def plan(self, db: Catalog) -> Iterator[Step]:
        if db.online and not db.installed():
            return
        kept = _kept(db)
        if db.online and db.was(kept):
            yield Step("leave the views that were there before", kept.forget(), done=lambda db: db.was(kept) is None)
            return
        yield Step(
            "drop the views of pgopt's monitoring",
            [*(_drop() if db.online else [_unless_kept(kept, _drop())]), kept.forget()],
            done=lambda db: not _installed(db),
        )


# the views must mean PostgreSQL's own tables, whatever others are called
_SEARCH_PATH = "set local search_path = pg_catalog, pg_temp"


# what others were granted, as statements for what is there again
_GRANTED = """select set_config('pgopt.granted', coalesce(string_agg(format(
    'if %s(%L) is not null then grant %s on %s %s to %s%s; end if;', a.asks, a.name, a.privilege_type, a.kind, a.name,
    case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
    case when a.is_grantable then ' with grant option' end), ' '), ''), true)
from (
    select 'to_regclass' as asks, 'table' as kind, c.oid::regclass::text as name, c.relowner as owner, e.*
    from pg_class c, aclexplode(c.relacl) e where c.relnamespace = 'pgopt'::regnamespace and c.relkind = 'v'
    union all
    select 'to_regprocedure', 'function', p.oid::regprocedure::text, p.proowner, e.*
    from pg_proc p, aclexplode(p.proacl) e
    where p.pronamespace = 'pgopt'::regnamespace and p.pronargs = 0 and p.prokind = 'f'
) a
where a.grantee <> a.owner"""
_GRANT = """do $$ begin
    execute 'do ' || quote_literal('begin ' || current_setting('pgopt.granted') || ' end');
end $$"""


def _kept(db: Catalog) -> Kept:
    return db.memory.of("install_monitoring", "the views")


def _remembered(db: Catalog) -> list[Composable]:
    """Write down whether they were there, so that they stay on the way down."""
    return [] if db.memory.down else [_kept(db).keep(sql("select to_jsonb({})", verbatim(_THERE)))]


def _unless_kept(kept: Kept, statements: list[Composable]) -> Composable:
    """Ask the server, in a script, whether they were there before."""
    there = sql("exists (select from pgopt.undo where {} and was = 'true')", kept.where)
    return block([sql("if not {} then\n{};\nend if", there, joined(statements, ";\n"))])


def _drop() -> list[Composable]:
    """Drop what this pgopt knows of, which an older one may not have made."""
    return [
        sql("drop view if exists {}", _named(ALL_VIEWS)),
        sql("drop function if exists {}", _named(FUNCTIONS)),
    ]


def _grants() -> list[Composable]:
    readers = ident(READERS)
    return [
        sql("revoke all on function {} from public", _named(FUNCTIONS)),
        sql("grant select on {} to {}", _named(ALL_VIEWS), readers),
        sql("grant execute on function {} to {}", _named(FUNCTIONS), readers),
    ]


def _named(names: tuple[str, ...]) -> Composable:
    return joined(ident("pgopt", name) for name in names)


_THERE = "to_regclass('pgopt.slow_queries') is not null"


def _installed(db: Catalog) -> bool:
    return bool(db.session.value(f"select {_THERE}"))


def _signed() -> Composable:
    return sql("comment on function {}() is {}", ident("pgopt", SLOW_QUERIES), literal(_signature()))


def _up_to_date(db: Catalog) -> bool:
    there = (
        "select obj_description(p.oid, 'pg_proc'::name) from pg_proc p"
        " where p.pronamespace = to_regnamespace('pgopt') and p.proname = 'slow_queries'"
    )
    return bool(db.session.value(there) == _signature())


def _signature() -> str:
    return f"what pgopt.slow_queries shows; monitoring {monitoring.digest()}"
