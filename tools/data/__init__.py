"""Plausible, skewed data for the systems of the reference chain: the same for the same seed and day.

`python -m tools.data saas --rows 100000` fills one, whose tables must be there and empty, in the database of DATABASE_URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.data import insightdesk, musclemap, proposals, saas, vibing2
from tools.data.chance import Chance, Table, today

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Any

    from psycopg import Connection

SYSTEMS: dict[str, Callable[[int, Chance], Sequence[Table]]] = {
    "insightdesk": insightdesk.tables,
    "saas": saas.tables,
    "musclemap": musclemap.tables,
    "proposals": proposals.tables,
    "vibing2": vibing2.tables,
}
# what is made of the tables, and is filled with them
VIEWS = {"saas": ["dashboard_summary_mv"], "musclemap": ["mv_xp_rankings"]}


def fill(connection: Connection[Any], system: str, rows: int, *, seed: int = 1, until: datetime | None = None) -> None:
    """Fill the tables of a system with about so many rows in all, in one transaction."""
    tables = SYSTEMS[system](rows, Chance(f"{system} {seed}", until or today()))
    with connection.transaction(), connection.cursor() as cursor:
        for table in tables:
            with cursor.copy(f"copy {system}.{table.name} ({table.columns}) from stdin".encode()) as copy:
                for number in range(table.count):
                    copy.write_row(table.row(number))
        for view in VIEWS.get(system, ()):
            cursor.execute(f"refresh materialized view {system}.{view}".encode())
