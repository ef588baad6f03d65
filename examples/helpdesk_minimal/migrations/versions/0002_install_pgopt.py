"""What pgopt remembers, which batches need."""

from __future__ import annotations

from pgopt import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.install_pgopt(version=1)


def downgrade() -> None:
    op.uninstall_pgopt(version=1)
