"""Country and hidden are columns of players, too, kept so by triggers."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0003"
down_revision = "0002"

upgrade, downgrade = reversible(
    o.DenormalizeColumns(
        "players",
        source="profiles",
        on={"id": "player_id"},
        columns={"country": "country", "hidden": "hidden"},
        defaults={"hidden": "false"},
    ),
)
