"""The transactions of saas by time, and their amounts from the index alone."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0009"
down_revision = "0008"

index = partial(o.CreateIndexConcurrently, schema="saas")

upgrade, downgrade = reversible(
    index("idx_transactions_user", "transactions", ["user_id"]),
    index("idx_transactions_created_at_btree", "transactions", ["created_at desc"]),
    index("idx_transactions_created_amount", "transactions", ["created_at desc"], include=["amount"]),
)
