"""The transactions of saas by years, two ahead, converted while they are written to."""

from __future__ import annotations

from pgopt import Yearly, reversible
from pgopt import operations as o

revision = "0010"
down_revision = "0009"

upgrade, downgrade = reversible(
    o.PartitionTable("transactions", Yearly("created_at"), premake=2, widen_keys=True, schema="saas"),
)
