"""The views of pgopt's monitoring."""

from __future__ import annotations

from pgopt.operations import InstallMonitoring, InstallPgopt, UninstallMonitoring
from tests.contract.examples.base import Example

APPLICATION = "create table tickets (id int primary key)"
WRITES = "insert into tickets values ({n} + 1000)"
INSTALLED = (InstallPgopt(1),)

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
]
