"""The index of the ticket list, with what the list shows in it."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0003"
down_revision = "0002"

upgrade, downgrade = reversible(
    o.CreateIndexConcurrently(
        "ix_tickets_list",
        "tickets",
        ["organization_id", "created_at desc", "id desc"],
        include=["title", "status"],
    ),
)
