"""A leaderboard on a PostgreSQL of its own, or on that of DATABASE_URL: `python leaderboard.py`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from queries import FRESHNESS, HIDE, PLAYERS, PROFILES, REFRESH, SCORE, TOP
from sqlalchemy import create_engine

from pgopt.embedded import server
from pgopt.env import read_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

HERE = Path(__file__).parent


def prepare(engine: Engine) -> None:
    """Bring the database to head, and put players into it where there are none."""
    config = Config(str(HERE / "alembic.ini"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    with engine.begin() as connection:
        if connection.execute(PLAYERS).rowcount:
            connection.execute(PROFILES)
            connection.execute(REFRESH)


def top(connection: Connection, country: str | None, number: int) -> Iterator[str]:
    """Tell who is at the top, as of when, and whether that was too long ago."""
    for row in connection.execute(TOP, {"country": country, "number": number}):
        yield f"{row.rank:>5}  {row.points:>8}  {row.country or '--'}  {row.name}"
    as_of = connection.execute(FRESHNESS).one()
    warning = "" if as_of.is_fresh else ": data may be outdated, is `pgopt worker` running?"
    yield f"as of {as_of.fresh_at:%Y-%m-%d %H:%M:%S %Z}{warning}"


def score(connection: Connection, name: str, points: int) -> str:
    """Give points to a player; the ranking follows."""
    found = connection.execute(SCORE, {"name": name, "points": points}).one_or_none()
    return f"{name} has {found.points} points" if found else sys.exit(f"there is no player {name}")


def hide(connection: Connection, name: str) -> str:
    """Leave a player out of the ranking from now on."""
    found = connection.execute(HIDE, {"name": name}).one_or_none()
    return f"{name} is hidden" if found else sys.exit(f"there is no player {name}")


def arguments() -> argparse.Namespace:
    """Read what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command")
    shown = commands.add_parser("top", help="who is at the top")
    shown.add_argument("--country")
    shown.add_argument("--number", type=int, default=10)
    scored = commands.add_parser("score", help="give a player points")
    scored.add_argument("name")
    scored.add_argument("points", type=int)
    commands.add_parser("hide", help="leave a player out").add_argument("name")
    return parser.parse_args()


@contextmanager
def database() -> Iterator[Engine]:
    """Give the database of DATABASE_URL, or one of its own."""
    given = os.environ.get("DATABASE_URL")
    with nullcontext(read_url(given, "DATABASE_URL")) if given else server(HERE / ".pgdata") as url:
        engine = create_engine(url)
        try:
            yield engine
        finally:
            engine.dispose()


def main() -> None:
    """Do what is asked for; without a command, make everything ready and show the top."""
    asked = arguments()
    with database() as engine:
        if asked.command is None:
            prepare(engine)
        with engine.begin() as connection:
            match asked.command:
                case "score":
                    lines = [score(connection, asked.name, asked.points)]
                case "hide":
                    lines = [hide(connection, asked.name)]
                case _:
                    lines = list(top(connection, getattr(asked, "country", None), getattr(asked, "number", 10)))
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
