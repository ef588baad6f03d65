"""`pgopt metrics` and `pgopt health --watch`: what is told again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import make_url

from pgopt import Monthly
from pgopt.cli import health
from pgopt.cli.metrics import measure
from pgopt.operations import CreateMaterializedView, InstallPgopt, PartitionTable
from tests.integration.test_health import FAULTS, pgopt
from tests.integration.test_slow_queries import recorded  # noqa: F401  -- a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pgopt.monitoring.checks import Health
    from tests.databases import Database

Labels = tuple[str, ...]


def read(text: str) -> dict[tuple[str, Labels], float]:
    """Read what Prometheus would read, by name and labels."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# what runs the tests may ignore interruptions, as a job in the background does, and a process inherits that
INTERRUPTIBLE = """
import signal
from pgopt.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


@contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on, until it is interrupted."""
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_figures_of_a_database(database: Database, tmp_path: Path) -> None:
    database.run(FAULTS)
    database.run("create table logs (id int, at timestamptz, primary key (id, at)); insert into logs values (1, now())")
    database.perform(
        InstallPgopt(1), PartitionTable("logs", by=Monthly("at")), CreateMaterializedView("board", "select 1 as n")
    )
    done = pgopt("metrics", "--url", database.server.url(database.name), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    seen = read(done.stdout)
    assert seen["pgopt_up", ()] == 1
    assert seen["pgopt_findings", ("sequence_headroom",)] == 1
    assert seen["pgopt_findings", ("blocking",)] == 0
    assert seen["pgopt_worst_finding", ()] == 85
    size = database.value("""select pg_indexes_size('"Büro"."Akten"')""")
    assert seen["pgopt_table_index_bytes", ("Büro", "Akten")] == size
    assert seen["pgopt_sequence_used_ratio", ("public", "numbers")] == pytest.approx(0.976)
    assert seen["pgopt_database_bytes", (database.name,)] > 5_000_000
    assert seen["pgopt_blocks_hit_total", ("tables",)] > 0
    assert seen["pgopt_partition_seconds_left", ("public", "logs")] > 86400 * 28
    assert 0 <= seen["pgopt_view_age_seconds", ("public", "board")] < 3600


def test_statements_are_counted(recorded: Database) -> None:  # noqa: F811
    recorded.run("create extension pg_stat_statements")
    recorded.run("select pg_sleep(0.02)")
    recorded.run("select pg_sleep(0.02)")
    query = recorded.value("select queryid from pg_stat_statements where query = 'select pg_sleep($1)' and toplevel")
    found = {family.name: family for family in measure(make_url(recorded.server.url(recorded.name)))}
    calls, seconds = (
        next(each.value for each in found[name].samples if each.labels["queryid"] == str(query))
        for name in ("pgopt_statement_calls", "pgopt_statement_seconds")
    )
    assert calls == 2
    assert seconds >= 0.04


def test_they_are_served_until_an_interruption(database: Database, tmp_path: Path) -> None:
    with running("metrics", "--url", database.server.url(database.name), "--port", "0", cwd=tmp_path) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        for _ in range(2):
            with urlopen(address) as answer:
                assert read(answer.read().decode())["pgopt_up", ()] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_database_that_is_away_is_told(database: Database) -> None:
    url = make_url(database.server.url(database.name)).set(database="nowhere")
    (up,) = measure(url)
    assert [sample.value for sample in up.samples] == [0]


def test_watching_goes_on_until_an_interruption(database: Database, tmp_path: Path) -> None:
    database.run("create sequence numbers as smallint; select setval('numbers', 32000)")
    url = database.server.url(database.name)
    with running("health", "--watch", "--every", "0.1", "--json", "--url", url, cwd=tmp_path) as process:
        said = process.stdout
        assert said is not None

        def until(wanted: list[str]) -> None:
            while [finding["subject"] for finding in json.loads(said.readline())["findings"]] != wanted:
                pass

        until(["numbers"])
        database.run("drop sequence numbers")
        until([])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_watching_outlives_a_server_that_is_away(database: Database) -> None:
    url = make_url(database.server.url(database.name))
    seen: list[Health] = []

    def show(found: Health) -> None:
        seen.append(found)
        if len(seen) == 2:
            raise KeyboardInterrupt

    last = health.watch(url.set(database="nowhere"), 0, show)
    assert ["nowhere" in found.notes[0] for found in seen] == [True, True]
    assert last.findings == []
