"""A column for the priority of a ticket; without a default that is a matter of an instant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("tickets", sa.Column("priority", sa.String))


def downgrade() -> None:
    op.drop_column("tickets", "priority")
