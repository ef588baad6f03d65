"""Indexes for the foreign keys, lists, filters and searches of insightdesk, built while it is in use."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0003"
down_revision = "0002"

index = partial(o.CreateIndexConcurrently, schema="insightdesk")

upgrade, downgrade = reversible(
    # foreign keys
    index("idx_tickets_assignee_id", "tickets", ["assignee_id"]),
    index("idx_tickets_organization_id", "tickets", ["organization_id"]),
    index("idx_tickets_created_by_id", "tickets", ["created_by_id"]),
    index("idx_comments_ticket_id", "comments", ["ticket_id"]),
    index("idx_comments_user_id", "comments", ["user_id"]),
    # filters and orders
    index("idx_tickets_status", "tickets", ["status"]),
    index("idx_tickets_created_at", "tickets", ["created_at desc"]),
    index("idx_tickets_updated_at", "tickets", ["updated_at desc"]),
    index("idx_tickets_status_priority", "tickets", ["status", "priority"]),
    index("idx_articles_category_status", "articles", ["category_id", "status"]),
    index("idx_articles_status_updated", "articles", ["status", "updated_at desc"]),
    index("idx_tickets_org_status_created", "tickets", ["organization_id", "status", "created_at desc"]),
    # the rows that a list shows, and no others
    index("idx_tickets_assignee_status", "tickets", ["assignee_id", "status"], where="assignee_id is not null"),
    index(
        "idx_active_tickets",
        "tickets",
        ["created_at desc", "priority"],
        where="status in ('OPEN', 'IN_PROGRESS', 'PENDING')",
    ),
    index(
        "idx_unassigned_tickets",
        "tickets",
        ["organization_id", "priority desc", "created_at desc"],
        where="assignee_id is null and status = 'OPEN'",
    ),
    index("idx_published_articles", "articles", ["category_id", "updated_at desc"], where="status = 'PUBLISHED'"),
    # searches
    index(
        "idx_tickets_search",
        "tickets",
        ["to_tsvector('english', title || ' ' || coalesce(description, ''))"],
        using="gin",
    ),
    index("idx_articles_search", "articles", ["to_tsvector('english', title || ' ' || content)"], using="gin"),
)
