"""SQL that is too long for a line of Python: one file each in `sql/`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg.sql import Composable, Composed


def query(name: str, **values: Composable) -> Composed:
    """Load ``sql/<name>.sql`` and put values in the places that are marked ``{so}``."""
    from psycopg.sql import SQL

    return SQL(_text(name)).format(**values)


@cache
def _text(name: str) -> str:
    return (resources.files("pgopt.server") / "sql" / f"{name}.sql").read_text()
