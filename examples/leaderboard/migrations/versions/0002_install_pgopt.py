"""What pgopt remembers: how far a column is filled, when a view was refreshed, which jobs there are."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0002"
down_revision = "0001"

upgrade, downgrade = reversible(o.InstallPgopt(version=1))
