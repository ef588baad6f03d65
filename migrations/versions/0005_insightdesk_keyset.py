"""The ticket lists of insightdesk page by page: one range of one index, with what a list shows in it."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0005"
down_revision = "0004"

index = partial(o.CreateIndexConcurrently, schema="insightdesk")

upgrade, downgrade = reversible(
    index("idx_tickets_keyset", "tickets", ["created_at desc", "id desc"]),
    index(
        "idx_tickets_org_keyset",
        "tickets",
        ["organization_id", "created_at desc", "id desc"],
        include=["title", "status", "priority", "assignee_id"],
    ),
)
