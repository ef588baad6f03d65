"""The views of pgopt's monitoring."""

from __future__ import annotations

from alembic.operations.ops import ExecuteSQLOp

from pgopt.operations import InstallMonitoring, InstallPgopt, UninstallMonitoring
from tests.contract.examples.base import Example

APPLICATION = "create table tickets (id int primary key)"
WRITES = "insert into tickets values ({n} + 1000)"
INSTALLED = (InstallPgopt(1),)
# some have another definition, some are not there yet, and others were granted one; none is signed
OLDER = """
comment on function pgopt.slow_queries() is null; drop view if exists pgopt.stale_views; drop function if exists pgopt.stale_views();
drop view if exists pgopt.blocking; create view pgopt.blocking as select 1 as of_old; grant select on pgopt.blocking to pg_read_all_stats;
grant execute on function pgopt.slow_queries() to public
"""

EXAMPLES = [
    Example("monitoring", APPLICATION, InstallMonitoring(), before=INSTALLED, writes=WRITES, named=True),
    Example(
        "monitoring taken away",
        APPLICATION,
        UninstallMonitoring(),
        before=(*INSTALLED, InstallMonitoring()),
        writes=WRITES,
        named=True,
    ),
    Example(
        "monitoring taken away where statements are recorded",
        APPLICATION + "; create schema s; create extension pg_stat_statements schema s",
        UninstallMonitoring(),
        before=(*INSTALLED, InstallMonitoring()),
        writes=WRITES,
        named=True,
    ),
    Example(
        "monitoring where tables are called as PostgreSQL's own",
        APPLICATION + "; create table pg_index (id int); create function age(xid) returns int return 1",
        InstallMonitoring(),
        before=INSTALLED,
        writes=WRITES,
    ),
    Example(
        "monitoring where there are views of an older pgopt",
        APPLICATION,
        InstallMonitoring(),
        before=(*INSTALLED, InstallMonitoring(), ExecuteSQLOp(OLDER)),
        writes=WRITES,
        # its inverse leaves the new ones there, where it has come so far
        back=(InstallMonitoring(), UninstallMonitoring(), ExecuteSQLOp(OLDER)),
    ),
]
