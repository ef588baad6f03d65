from __future__ import annotations

from pathlib import Path

from alembic import context
from models import Base

import pgopt.env
from pgopt.embedded import server

pgopt.env.run(context, target_metadata=Base.metadata, otherwise=server(Path(__file__).parents[1] / ".pgdata"))
