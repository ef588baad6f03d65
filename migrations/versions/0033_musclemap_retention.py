"""Resolved errors of musclemap are kept for 30 days, its request log for 7."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0033"
down_revision = "0032"

policy = partial(o.CreateRetentionPolicy, column="created_at", schedule="0 3 * * *", schema="musclemap")

upgrade, downgrade = reversible(
    o.CreateIndexConcurrently("idx_tracked_errors_created", "tracked_errors", ["created_at"], schema="musclemap"),
    policy("tracked_errors", keep="30 days", where="resolved"),
    # a month goes as a whole, what is old of the month after it by rows
    policy("request_logs", keep="7 days", action="drop_partition", partly="delete"),
)
