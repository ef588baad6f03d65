"""Views that show what slows a database down, for people and for whoever has pg_monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt import monitoring
from pgopt.errors import INSTALL, NotInstalled
from pgopt.monitoring import ALL_VIEWS, FUNCTIONS, READERS
from pgopt.operations.base import StateOperation, operation
from pgopt.plan.step import Step
from pgopt.server.quoting import block, ident, joined, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog


@operation("install_monitoring")
class InstallMonitoring(StateOperation):
    """Make views in the `pgopt` schema that show slow queries, unused and bloated indexes, who blocks whom, and the like.

    A role with pg_monitor may read them, and nobody else. Locks nothing that is there before. Needs `install_pgopt`::

        op.install_monitoring()
    """

    def reverse(self) -> UninstallMonitoring:
        return UninstallMonitoring()

    def plan(self, db: Catalog) -> Iterator[Step]:
        if db.online and not db.installed():
            raise NotInstalled(f"the views are made in the pgopt schema: add `{INSTALL}` to a revision before")
        yield Step(
            "make the views of pgopt's monitoring",
            [verbatim(_SEARCH_PATH), block([*monitoring.statements(), *_grants()])],
            done=_installed,
        )


@operation("uninstall_monitoring")
class UninstallMonitoring(StateOperation):
    """Drop the views that `install_monitoring` made; ACCESS EXCLUSIVE on them for an instant::

    op.uninstall_monitoring()
    """

    def reverse(self) -> InstallMonitoring:
        return InstallMonitoring()

    def plan(self, db: Catalog) -> Iterator[Step]:
        if db.online and not db.installed():
            return
        yield Step(
            "drop the views of pgopt's monitoring",
            [
                sql("revoke usage on schema pgopt from {}", ident(READERS)),
                sql("drop view {}", _named(ALL_VIEWS)),
                sql("drop function {}", _named(FUNCTIONS)),
            ],
            done=lambda db: not _installed(db),
        )


# the views must mean PostgreSQL's own tables, whatever others are called
_SEARCH_PATH = "set local search_path = pg_catalog, pg_temp"


def _grants() -> list[Composable]:
    readers = ident(READERS)
    return [
        sql("revoke all on function {} from public", _named(FUNCTIONS)),
        sql("grant usage on schema pgopt to {}", readers),
        sql("grant select on {} to {}", _named(ALL_VIEWS), readers),
        sql("grant execute on function {} to {}", _named(FUNCTIONS), readers),
    ]


def _named(names: tuple[str, ...]) -> Composable:
    return joined(ident("pgopt", name) for name in names)


def _installed(db: Catalog) -> bool:
    return db.session.value("select to_regclass('pgopt.slow_queries')") is not None
