"""What pgopt remembers, and its views."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0002"
down_revision = "0001"

upgrade, downgrade = reversible(o.InstallPgopt(version=1), o.InstallMonitoring())
