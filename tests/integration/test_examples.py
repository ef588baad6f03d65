"""The examples run as their READMEs say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.databases import Database

EXAMPLES = Path(__file__).parents[2] / "examples"


def alembic(example: str, database: Database, *arguments: str) -> str:
    """Run alembic in the folder of an example."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=EXAMPLES / example,
        env={**os.environ, "DATABASE_URL": database.server.url(database.name)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_helpdesk_minimal(database: Database) -> None:
    before = database.dump()
    alembic("helpdesk_minimal", database, "upgrade", "0003")
    database.run(
        "insert into organizations (name) values ('one');"
        "insert into tickets (organization_id, title)"
        " select 1, case when n % 10 = 0 then 'Urgent: ' else '' end || n from generate_series(1, 2500) n"
    )
    said = alembic("helpdesk_minimal", database, "upgrade", "head")
    assert "build ix_tickets_list on public.tickets: " in said, "what was done and how long it took is shown"
    assert database.rows("select priority, count(*) from tickets group by 1 order by 1") == [
        ("HIGH", 250),
        ("LOW", 2250),
    ]
    assert "No new upgrade operations detected" in alembic("helpdesk_minimal", database, "check")
    alembic("helpdesk_minimal", database, "downgrade", "base")
    assert database.dump() == before
