"""Snapshots by the clock."""

from __future__ import annotations

from pgopt.operations import InstallMonitoring, InstallPgopt, InstallSnapshots, ScheduleJob, UninstallSnapshots
from tests.contract.examples.base import Example

APPLICATION = 'create schema "S x"; create table "S x"."T %s :n" (id int primary key)'
WRITES = 'insert into "S x"."T %s :n" values ({n})'

EXAMPLES = [
    Example("snapshots", APPLICATION, InstallSnapshots(), before=(InstallPgopt(1),), writes=WRITES, named=True),
    Example(
        "snapshots beside the views and another job",
        APPLICATION,
        InstallSnapshots(every="1 day", keep="1 year 2 months"),
        before=(InstallPgopt(1), InstallMonitoring(), ScheduleJob("tick", "select 1", every="1 minute")),
        writes=WRITES,
        named=True,
    ),
    Example(
        "no more snapshots",
        APPLICATION,
        UninstallSnapshots(every="20 seconds", keep="7 days"),
        before=(InstallPgopt(1), InstallSnapshots(every="20 seconds", keep="7 days")),
        writes=WRITES,
        named=True,
    ),
]
