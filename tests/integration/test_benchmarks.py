"""The benchmarks run, at a tiny scale, and print what they measured; how long it took decides nothing here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from benchmarks.queries import QUERIES
from tests.integration.test_chain import REVISIONS, alembic

if TYPE_CHECKING:
    from tests.databases import Database
    from tests.servers import Server

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(server: Server, folder: Path, program: str, *arguments: str) -> tuple[str, dict[str, Any]]:
    """Run a benchmark on the suite's server, and give its tables and its JSON."""
    result = folder / "result.json"
    address = f"postgresql://{server.user}:{server.password or ''}@/postgres?host={server.host}&port={server.port}"
    done = subprocess.run(
        [sys.executable, BENCHMARKS / program, *arguments, f"--json={result}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DATABASE_URL": address},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(result.read_text())


def rows_of(table: str) -> list[str]:
    """The first cells of the rows of all tables that were printed."""
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [line.split("|")[1].strip() for line in lines]


def leftovers(server: Server) -> list[Any]:
    """The databases that benchmarks have left."""
    import psycopg

    with psycopg.connect(server.dsn(server.maintenance_dbname)) as connection:
        return connection.execute("select datname from pg_database where datname ~ '^pgopt_bench_'").fetchall()


def test_overhead(server: Server, tmp_path: Path) -> None:
    table, result = run(server, tmp_path, "overhead.py", "--revisions=3", "--rows=10", "--runs=1", "--imports=1")
    for rows in ("0", "10"):
        measured = {each["name"]: each for each in result["upgrade"][rows]}
        assert {"Alembic", "pgopt", "pgopt, with a journal", "pgopt, as a command"} <= measured.keys()
        assert measured["Alembic"]["ratio"] == 1
        assert all(len(each["values"]) == 1 and each["median"] > 0 for each in measured.values())
    assert len(result["imports"]) == 3
    assert {each["name"] for each in result["imports"]} <= set(rows_of(table))
    assert "fsync = " in table
    assert leftovers(server) == []


def test_harm(server: Server, tmp_path: Path) -> None:
    table, result = run(server, tmp_path, "harm.py", "--rows=1000", "--runs=1", "--held=0.5", "--idle=0.1")
    names = {which: [each["name"] for each in result[which]] for which in ("index", "column")}
    assert names["index"] == ["nothing", "CREATE INDEX", "CREATE INDEX CONCURRENTLY", "pgopt"]
    assert set(names["index"]) | set(names["column"]) <= set(rows_of(table))
    for each in result["index"] + result["column"]:
        assert each["done"] == 1
        assert each["writer statements"] > 0
        assert each["reader statements"] > 0
    waited = {each["name"]: each["blocked seconds"] for each in result["column"]}
    assert waited["ALTER TABLE"] > 0, "who waits behind the long transaction is counted"
    assert leftovers(server) == []


def test_constraints(server: Server, tmp_path: Path) -> None:
    kinds = ("CHECK", "FOREIGN KEY", "UNIQUE")
    table, result = run(server, tmp_path, "constraints.py", "--rows=1000", "--runs=1", "--idle=0.1", "--only", *kinds)
    measured = {each["name"]: each for each in result["constraints"]}
    assert measured.keys() == {"nothing", *(f"{kind}, {by}" for kind in kinds for by in ("ALTER TABLE", "pgopt"))}
    assert set(measured) <= {row.replace(" (gave up)", "") for row in rows_of(table)}
    assert all(each["done"] == 1 and each["writer statements"] > 0 for each in measured.values())
    assert leftovers(server) == []


def test_partition(server: Server, tmp_path: Path) -> None:
    table, result = run(server, tmp_path, "partition.py", "--rows=2000", "--runs=1", "--idle=0.1")
    assert {"limit", "textbook", "pgopt", "key by hand", "nothing"} <= set(rows_of(table))
    assert all(result["copy"][way]["fill and indexes"]["median"] > 0 for way in ("limit", "textbook", "pgopt"))
    assert result["load"]["pgopt"]["writer statements"]["median"] > 0
    assert all(each["rows"]["median"] > 0 and each["freed"]["median"] >= 0 for each in result["retention"].values())
    assert result["last week"].keys() == {"before", "after"}
    assert leftovers(server) == []


def test_parts_of_partition(server: Server, tmp_path: Path) -> None:
    _, result = run(server, tmp_path, "partition.py", "--rows=500", "--runs=1", "--only", "attach")
    assert result.keys() == {"rows", "attach", "surroundings"}


def test_headline(server: Server, tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    systems = ["saas", "vibing2"]
    table, result = run(server, tmp_path, "headline.py", "--rows=3000", f"--svg={chart}", "--systems", *systems)
    measured = {(each["system"], each["name"]): each for each in result["queries"]}
    wanted = {(query.system, query.name): query for query in QUERIES if query.system in systems}
    assert measured.keys() == wanted.keys()
    assert {name for _, name in wanted} <= set(rows_of(table))
    assert all(each["before"]["warm"] > 0 and each["after"]["warm"] > 0 for each in measured.values())
    assert measured["vibing2", "message pagination"]["after"]["plan"]["Plan"]["Node Type"] == "Limit"
    names = [each.text for each in ET.parse(chart).iter("{http://www.w3.org/2000/svg}text")]
    assert {f"{system}: {name}" for system, name in wanted} <= set(names)


def test_demo(database: Database) -> None:
    before = database.dump()
    url = database.server.url(database.name).replace("postgresql+psycopg:", "postgresql:")
    command = [sys.executable, str(BENCHMARKS / "demo.py"), "--rows=2000", "--systems=saas"]
    environment = {**os.environ, "DATABASE_URL": url}
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=False, env=environment) for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert {"saas", "dashboard, N+1"} <= set(rows_of(first.stdout))
    assert max(map(len, first.stdout.splitlines())) <= 100
    assert "build idx_transactions_created_amount on saas.transactions" in first.stderr, "it tells how it goes on"
    assert "alembic downgrade base" in first.stdout
    assert f"is at revision {REVISIONS[-1]}: take it back by" in second.stderr
    alembic("downgrade", "base", database=database)
    assert database.dump() == before


def test_retention(server: Server, tmp_path: Path) -> None:
    table, result = run(server, tmp_path, "retention.py", "--rows=500", "--runs=1", "--idle=0.1")
    ways = {"one DELETE", "pgopt, procedure", "pgopt, command", "INSERT and DELETE", "pgopt, archive"}
    assert ways | {"pgopt, partitions", "pgopt, partitions of a tenth", "nothing"} <= set(rows_of(table))
    assert {way: result["alone"][way]["rows"]["median"] for way in ways} == dict.fromkeys(ways, 100)
    assert result["beside"]["pgopt, archive"]["writer statements"]["median"] > 0
    assert leftovers(server) == []


def test_matviews(server: Server, tmp_path: Path) -> None:
    table, result = run(server, tmp_path, "matviews.py", "--rows=1000", "--users", "100", "--runs=1", "--idle=0.1")
    ways = {
        "nothing",
        "CREATE TABLE AS",
        "REFRESH",
        "REFRESH CONCURRENTLY",
        "pgopt.refresh",
        "replace_materialized_view",
    }
    assert ways | {"joined", "denormalised", "with a covering index", "the first 100, of the users"} <= set(
        rows_of(table)
    )
    assert result["refreshes"].keys() == {"0.0%", "0.1%", "1.0%", "10.0%"}
    for of_share in result["refreshes"].values():
        assert of_share.keys() == ways
        assert all(each["seconds"][0] > 0 and each["longest"][0] > 0 for each in of_share.values())
    assert leftovers(server) == []


def test_denormalize(server: Server, tmp_path: Path) -> None:
    arguments = ("--rows=200", "--groups=10", "--sizes", "1", "50", "--repeat=5", "--runs=1")
    table, result = run(server, tmp_path, "denormalize.py", *arguments)
    assert {"counter", "columns"} <= set(rows_of(table))
    measured = {(each["work"], each["rows"], each["way"]): each for each in result["denormalize"]}
    assert len(measured) == 16
    assert all(measured[work, 50, "pgopt, deferred"]["fold"] > 0 for work in ("counter", "columns"))
    assert all(each["median"] > 0 and each["wal"] > 0 for each in measured.values())
    assert measured["counter", 1, "row-level trigger"]["ratio"] == 1
    assert leftovers(server) == []


def test_health(server: Server, tmp_path: Path) -> None:
    table, result = run(server, tmp_path, "health.py", "--tables=3", "--rows=5", "--runs=1")
    ways = {"all sizes, by one query", "the checks", "the page", "pgopt health", "a snapshot"}
    assert ways | {"index_bloat", "duplicate_indexes"} <= set(rows_of(table))
    assert all(each["median"] > 0 for each in result["ways"] + result["checks"])
    assert leftovers(server) == []
