"""How the database is and what it did, every 15 minutes, for all five systems at once."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0038"
down_revision = "0037"

upgrade, downgrade = reversible(o.InstallSnapshots(every="15 minutes", keep="30 days"))
