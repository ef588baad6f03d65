"""Old tickets get a priority, and the ticket list an index, while the application is at work."""

from __future__ import annotations

from pgopt import op

revision = "0004"
down_revision = "0003"

LIST = ("ix_tickets_list", "tickets", ["organization_id", "created_at desc", "id desc"])


def upgrade() -> None:
    op.backfill(
        "tickets",
        set={"priority": "case when title ~* 'urgent' then 'HIGH' else 'LOW' end"},
        where="priority is null",
    )
    op.create_index_concurrently(*LIST)


def downgrade() -> None:
    op.drop_index_concurrently(*LIST)
