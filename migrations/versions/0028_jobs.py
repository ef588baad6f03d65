"""What is done by the clock for all five systems: partitions are made ahead, and bulky tables and indexes kept in shape."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0028"
down_revision = "0027"

upgrade, downgrade = reversible(
    # each night and some ahead: it may fail for weeks before a row has no partition
    o.ScheduleJob("partitions", "call pgopt.maintain()", cron="15 0 * * *"),
    o.ScheduleJob("vacuum insightdesk", "vacuum (analyze) insightdesk.tickets", cron="45 2 * * *"),
    # at the top level, where alone it can run
    o.ScheduleJob("reindex saas", "reindex index concurrently saas.idx_users_updated_at", cron="0 2 * * 0"),
)
