"""Install what pgopt remembers: how far batches came, and which revisions are half-done."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0001"
down_revision = None

upgrade, downgrade = reversible(o.InstallPgopt(version=1))
