"""SQL that is too long for a line of Python: one file each in the `sql/` beside the module that uses it."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg.sql import Composable, Composed


def query(name: str, /, package: str = "pgopt.server", **values: Composable) -> Composed:
    """Load ``sql/<name>.sql`` of a package and put values in the places that are marked ``{so}``."""
    from psycopg.sql import SQL

    return SQL(_text(package, name)).format(**values)


@cache
def _text(package: str, name: str) -> str:
    text = (resources.files(package) / "sql" / f"{name}.sql").read_text()
    # comments are for us; the server's log need not repeat them
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("--"))
