"""Serve the help desk on a PostgreSQL of its own, or on that of DATABASE_URL: `python serve.py`."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import uvicorn
from alembic import command
from alembic.config import Config
from app import application
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from pgopt.embedded import server

HERE = Path(__file__).parent
DEMO = """
    insert into organizations (name) select 'Organization ' || n from generate_series(1, 5) n
        where not exists (select from organizations);
    insert into tickets (organization_id, title, status, created_at)
        select 1 + n % 5, 'Ticket ' || n, (array['OPEN', 'PENDING', 'CLOSED'])[1 + n % 3], now() - n * interval '1 minute'
        from generate_series(1, 5000) n where not exists (select from tickets)
"""


def prepare(url: URL) -> None:
    """Bring the database to head, and put some tickets into it where there are none."""
    engine = create_engine(url)
    config = Config(str(HERE / "alembic.ini"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    with engine.begin() as connection:
        for statement in DEMO.split(";"):
            connection.execute(text(statement))
        connection.execute(text("select * from pgopt.refresh('public.ticket_stats')"))
    engine.dispose()


def main() -> None:
    """Serve until somebody says Ctrl-C."""
    given = os.environ.get("DATABASE_URL")
    with nullcontext(make_url(given)) if given else server(HERE / ".pgdata") as url:
        prepare(url)
        print("http://127.0.0.1:8000: /tickets?organization=1, /dashboard?organization=1, /health/database")  # noqa: T201
        uvicorn.run(application(url), log_level="warning")


if __name__ == "__main__":
    main()
