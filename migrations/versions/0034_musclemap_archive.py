"""Entries of musclemap's credit ledger go to an archive after six months, each exactly once."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0034"
down_revision = "0033"

upgrade, downgrade = reversible(
    o.CreateIndexConcurrently("idx_credit_ledger_created", "credit_ledger", ["created_at"], schema="musclemap"),
    o.CreateArchiveTable("credit_ledger", "credit_ledger_archive", rows="restore", schema="musclemap"),
    o.CreateRetentionPolicy(
        "credit_ledger",
        column="created_at",
        keep="6 months",
        action="archive",
        archive_to="credit_ledger_archive",
        schedule="0 2 * * 0",
        schema="musclemap",
    ),
)
