"""What some tests need beside a server: they are left out where it is not installed, unless PGOPT_TEST_COMPONENTS=required."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql/15/bin")
PG_CRON = Path("/usr/share/postgresql/15/extension/pg_cron.control")
PGBOUNCER = Path("/usr/sbin/pgbouncer")
CHROMIUM = Path("/usr/bin/chromium-headless-shell")


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Leave tests out where a package is not there; `.ci/run` installs all of them, and wants all tests."""
    missing = [str(path) for path in paths if not path.exists()]
    here = not missing or os.environ.get("PGOPT_TEST_COMPONENTS") == "required"
    return pytest.mark.skipif(not here, reason=f"{', '.join(missing)} is not installed")
