"""The `pgopt` schema itself."""

from __future__ import annotations

from pgopt.operations import InstallPgopt, UninstallPgopt
from tests.contract.examples.base import Example

APPLICATION = "create table tickets (id int primary key)"
WRITES = "insert into tickets values ({n} + 1000)"

EXAMPLES = [
    Example("install", APPLICATION, InstallPgopt(1), writes=WRITES, named=True),
    Example("uninstall", APPLICATION, UninstallPgopt(1), before=(InstallPgopt(1),), writes=WRITES, named=True),
    Example("install where it is not the first", "create schema pgopt_of_old", InstallPgopt(version=1), named=True),
]
