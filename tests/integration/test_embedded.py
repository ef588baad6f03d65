"""The server that runs when nobody names one: its data stay, its process never does, whatever ends the command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pgopt.embedded import data_folder, server
from tests.databases import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = """
import sys
from sqlalchemy import create_engine, text
from pgopt.embedded import server
with server(sys.argv[1]) as url:
    with create_engine(url).connect() as connection:
        connection.execute(text("select 1"))
        print("ready", flush=True)
        sys.stdin.read()
        connection.execute(text("select 1"))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    # not pytest's, which is closed to the user that runs the server when we are root
    above = Path(tempfile.mkdtemp(prefix="pgopt-"))
    above.chmod(0o755)
    yield above / "data"
    shutil.rmtree(above)


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a process that uses the server until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", USER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise AssertionError(process.communicate()[1])
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Let the process come to its end."""
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")


def servers(folder: Path) -> list[int]:
    """The postmasters at work on the data."""
    processes = psutil.process_iter(["cmdline"])
    return [found.pid for found in processes if str(folder) in (found.info["cmdline"] or [])[1:3]]


def test_the_last_of_two_processes_stops_the_server(folder: Path) -> None:
    first = start(folder)
    second = start(folder)
    (at_work,) = servers(folder)
    end(first)
    assert servers(folder) == [at_work]
    end(second)
    assert servers(folder) == []


def test_a_polite_kill_stops_the_server(folder: Path) -> None:
    process = start(folder)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert servers(folder) == []


def test_the_next_one_stops_what_a_killed_one_left(folder: Path) -> None:
    process = start(folder)
    process.kill()
    process.communicate()
    (left,) = servers(folder)
    following = start(folder)
    assert servers(folder) == [left]
    end(following)
    wait_until("the server has stopped", lambda: servers(folder) == [])


def test_nothing_starts_before_the_block(folder: Path) -> None:
    server(folder)
    assert not folder.exists()


ROOT, ORDINARY = 0, 1000


def test_as_root_no_closed_folder_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ROOT)
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o700)
    found = data_folder(closed / "data")
    assert closed not in found.parents
    assert found == data_folder(closed / "data"), "the next command finds it again"
    assert found != data_folder(closed / "other")
    assert data_folder(folder) == folder


def test_an_ordinary_user_has_the_data_where_they_were_wanted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ORDINARY)
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o700)
    assert data_folder(closed / "data") == closed / "data"
