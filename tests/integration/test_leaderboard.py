"""The leaderboard runs as its README says, and tells when what it shows may be outdated."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_examples import EXAMPLES, alembic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.databases import Database

    Leaderboard = Callable[..., list[str]]

FOLDER = EXAMPLES / "leaderboard"


@pytest.fixture
def leaderboard(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Leaderboard]:
    """The command, as if it were run in its folder, on the test's database."""
    monkeypatch.syspath_prepend(str(FOLDER))
    # as people write it: psycopg 3 is meant, and not psycopg2
    monkeypatch.setenv("DATABASE_URL", database.server.url(database.name).replace("postgresql+psycopg:", "postgresql:"))
    before = set(sys.modules)
    module = importlib.import_module("leaderboard")

    def run(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["leaderboard.py", *arguments])
        module.main()
        return capsys.readouterr().out.splitlines()

    yield run
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def test_leaderboard(database: Database, leaderboard: Leaderboard) -> None:
    before = database.dump()
    assert leaderboard()[:2] == ["    1     20000  NL  ada", "    2      9990  JP  player 999"]
    assert leaderboard("score", "player 7", "30000") == ["player 7 has 30070 points"]
    assert leaderboard("hide", "ada") == ["ada is hidden"]
    assert leaderboard("top", "--number=1")[0].endswith("ada"), "as of the last refresh"
    for (command,) in database.rows("select command from pgopt.job"):
        database.run(command)
    first, second, as_of = leaderboard("top", "--number=2")
    assert [first.split()[3:], second.split()[3:]] == [["player", "7"], ["player", "999"]]
    assert "outdated" not in as_of
    assert leaderboard("top", "--country=NL", "--number=1")[0].split()[2] == "NL"
    database.run("update pgopt.materialized set fresh_at = now() - interval '31 seconds'")
    assert "data may be outdated" in leaderboard("top")[-1]
    with pytest.raises(SystemExit, match="there is no player nobody"):
        leaderboard("score", "nobody", "1")
    assert "No new upgrade operations detected" in alembic("leaderboard", database, "check")
    alembic("leaderboard", database, "downgrade", "base")
    assert database.dump() == before


def test_it_brings_a_server_of_its_own() -> None:
    # not pytest's folder, which is closed to the user that runs the server when we are root
    with tempfile.TemporaryDirectory(prefix="pgopt-") as above:
        Path(above).chmod(0o755)
        folder = shutil.copytree(FOLDER, Path(above) / "leaderboard", ignore=shutil.ignore_patterns(".pgdata"))
        done = subprocess.run(
            [sys.executable, "-B", "leaderboard.py"],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 11
