"""Views that show what slows the database down, for all five systems at once."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0026"
down_revision = "0025"

upgrade, downgrade = reversible(o.InstallMonitoring())
