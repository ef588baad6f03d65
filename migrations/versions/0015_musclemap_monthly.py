"""What musclemap only appends, by months, converted while it is written to."""

from __future__ import annotations

from functools import partial

from pgopt import Monthly, reversible
from pgopt import operations as o

revision = "0015"
down_revision = "0014"

partitioned = partial(o.PartitionTable, premake=3, widen_keys=True, schema="musclemap")

upgrade, downgrade = reversible(
    partitioned("activity_events", Monthly("created_at")),
    partitioned("request_logs", Monthly("created_at")),
    partitioned("xp_history", Monthly("created_at")),
)
