"""What the five applications' models say at head: `alembic check` compares the database with it.

Alembic compares tables, columns with their types, indexes, unique constraints and foreign keys. What it does not know (partitions,
materialized views, triggers, predicates of indexes, policies) is compared by `pg_dump` in tests/integration/test_chain.py.
"""

from __future__ import annotations

from migrations.metadata import insightdesk, musclemap, proposals, saas, vibing2

METADATA = [each.metadata for each in (insightdesk, saas, musclemap, proposals, vibing2)]
