from __future__ import annotations

from pathlib import Path

from alembic import context

import pgopt.env
from migrations.metadata import METADATA
from pgopt.embedded import server

pgopt.env.run(context, METADATA, include_schemas=True, otherwise=server(Path(__file__).parents[1] / ".pgdata"))
