"""pgbouncer before the server: in transaction mode a session is another one after each transaction."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pgopt.errors import PoolerInBetween
from pgopt.operations import CreateIndexConcurrently, InstallPgopt, ScheduleJob
from tests.components import PGBOUNCER, needs
from tests.databases import Database, wait_until
from tests.integration.alembic_project import Project, index, no_index
from tests.integration.test_jobs_run import LOG, pgopt, run_due, say
from tools.server import data_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs(PGBOUNCER)

INI = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = {mode}
ignore_startup_parameters = extra_float_digits
"""
SENTENCE = "a pooler is between pgopt and the server, and may give it another session for each transaction"


def listens(path: Path) -> bool:
    """Whether a server answers; its socket is there before."""
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(path))
        return True
    return False


@contextmanager
def pooled(database: Database, mode: str) -> Iterator[Database]:
    """The database behind a pgbouncer in some mode."""
    folder = data_folder()
    server = database.server
    (folder / "ini").write_text(
        INI.format(host=server.host, port=server.port, user=server.user, folder=folder, mode=mode)
    )
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.geteuid() == 0:
        # it refuses to be root
        quiet |= {"user": "nobody", "extra_groups": []}
        shutil.chown(folder, "nobody")
    with subprocess.Popen([PGBOUNCER, folder / "ini"], **quiet) as process:
        try:
            wait_until("it listens", lambda: listens(folder / ".s.PGSQL.6432"))
            yield Database(replace(server, host=str(folder), port=6432), database.name)
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder)


@pytest.fixture
def jobs(database: Database) -> Database:
    database.run(LOG)
    database.perform(InstallPgopt(1), ScheduleJob("job", say("job"), every="1 hour"))
    database.run("update pgopt.job set next_due = clock_timestamp()")
    return database


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_operation_is_refused_before_it_locks_or_changes_anything(jobs: Database, driver: str) -> None:
    before = jobs.dump()
    with pooled(jobs, "transaction") as there:
        with pytest.raises(PoolerInBetween, match=f"create_index_concurrently ix on log: {SENTENCE}") as refused:
            there.perform(CreateIndexConcurrently("ix", "log", ["said"]), engine=there.engine(driver))
        assert "\n" not in str(refused.value)
        assert jobs.value("select count(*) from pg_locks where locktype = 'advisory'") == 0
    assert jobs.dump() == before


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg", "psycopg_async"])
def test_alembic_is_refused_before_it_makes_its_table(jobs: Database, tmp_path: Path, driver: str) -> None:
    with pooled(jobs, "transaction") as there:
        project = Project.with_run(tmp_path, there.server.url(there.name, driver))
        project.revision("1", index("ix", "log", "said"), no_index("ix", "log", "said"))
        with pytest.raises(PoolerInBetween, match=SENTENCE):
            project.upgrade()
    assert jobs.value("select count(*) from pg_locks where locktype = 'advisory'") == 0
    assert jobs.value("select to_regclass('alembic_version') is null and to_regclass('ix') is null") is True
    Project.with_run(tmp_path / "direct", jobs.server.url(jobs.name, driver)).upgrade()


def test_jobs_are_not_run_where_nobody_could_be_kept_away_from_them(jobs: Database) -> None:
    with pooled(jobs, "transaction") as there:
        for command in ("run-due", "worker"):
            done = pgopt(command, jobs=there)
            assert done.returncode == 1
            assert done.stderr.startswith(f"pgopt: {SENTENCE}")
        # which changes nothing
        assert pgopt("jobs", jobs=there).returncode == 0
    assert jobs.rows("select * from pgopt.job_run") == []
    assert len(run_due(jobs)) == 1


def test_a_pooler_that_keeps_sessions_will_do_where_it_is_said(jobs: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with pooled(jobs, "session") as there:
        with pytest.raises(PoolerInBetween, match="PGOPT_SESSION_POOLER=1"):
            there.perform(CreateIndexConcurrently("ix", "log", ["said"]))
        monkeypatch.setenv("PGOPT_SESSION_POOLER", "1")
        there.perform(CreateIndexConcurrently("ix", "log", ["said"]))
        done = pgopt("run-due", jobs=there)
        assert (done.returncode, done.stderr) == (0, "")
    assert jobs.value("select count(*) from log") == 1
    assert jobs.value("select to_regclass('ix') is not null") is True


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_the_servers_own_address_is_no_pooler(jobs: Database, driver: str) -> None:
    jobs.perform(CreateIndexConcurrently("ix", "log", ["said"]), engine=jobs.engine(driver))
    assert jobs.value("select to_regclass('ix') is not null") is True
