"""What pgopt costs beside Alembic alone: per index built, and per `alembic` command.

`python benchmarks/overhead.py` prints tables; `--json FILE` writes the same with every single run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import site
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common
from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TABLES = 10

# as Alembic's own template has it, with the one setting that online operations need
ENV = """
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""

OURS = """
from pgopt import op

revision, down_revision = "{revision}", {down}


def upgrade():
    op.create_index_concurrently("{index}", "{table}", ["{column}"])
"""

PLAIN = """
from alembic import op

revision, down_revision = "{revision}", {down}


def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("{index}", "{table}", ["{column}"], postgresql_concurrently=True)
"""

INSTALL = """
from pgopt import op

revision, down_revision = "installed", None


def upgrade():
    op.install_pgopt(version=1)
"""

COLUMNS = ("a", "b", "c", "d")


def write_chain(folder: Path, revision: str, count: int, *, installed: bool = False) -> Path:
    """Write an Alembic environment with one index a revision."""
    versions = folder / "versions"
    versions.mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    if installed:
        (versions / "installed.py").write_text(INSTALL)
    down = "installed" if installed else None
    for number in range(count):
        name = f"r{number:03}"
        text = revision.format(
            revision=name,
            down=repr(down),
            index=f"ix_{number:03}",
            table=f"t{number % TABLES}",
            column=COLUMNS[number // TABLES % len(COLUMNS)],
        )
        (versions / f"{name}.py").write_text(text)
        down = name
    (folder / "alembic.ini").write_text(f"[alembic]\nscript_location = {folder}\npath_separator = os\n")
    return folder


def config_of(folder: Path, url: str) -> Config:
    """Make Alembic's configuration for a chain and a database."""
    config = Config(str(folder / "alembic.ini"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def tables(database: common.Database, rows: int) -> None:
    """Make the tables that are indexed."""
    for number in range(TABLES):
        database.run(
            f"create table t{number} (id bigint generated always as identity primary key, a int, b int, c text, d timestamptz)",
            f"insert into t{number} (a, b, c, d) select g, g % 100, md5(g::text), now() - g * interval '1 minute'"
            f" from generate_series(1, {rows}) g",
            f"vacuum analyze t{number}",
        )


def in_process(folder: Path, url: str) -> float:
    """Time `alembic upgrade head` without the start of a program."""
    config = config_of(folder, url)
    if (folder / "versions" / "installed.py").exists():
        command.upgrade(config, "installed")
    started = time.perf_counter()
    # no terminal, no bar: that is drawn for people
    with contextlib.redirect_stderr(io.StringIO()):
        command.upgrade(config, "head")
    return time.perf_counter() - started


def environment(folder: Path) -> dict[str, str]:
    """Let bytecode be kept, whatever the user's settings are and wherever the sources lie."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "pyc")}


def as_command(folder: Path, url: str) -> float:
    """Time the command as it is typed."""
    ini = folder / "alembic.ini"
    (folder / "command.ini").write_text(ini.read_text() + f"sqlalchemy.url = {url.replace('%', '%%')}\n")
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", folder / "command.ini", "upgrade", "head"],
        check=False,
        capture_output=True,
        text=True,
        env=environment(folder.parent),
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return time.perf_counter() - started


def alternate(ways: Mapping[str, Callable[[], float]], runs: int, warm_up: int = 1) -> list[common.Measure]:
    """Time each way in turn, in an order that turns with each run, so that a slow minute hits all."""
    names = list(ways)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for run in range(-warm_up, runs):
        shift = run % len(names)
        for name in names[shift:] + names[:shift]:
            common.progress(f"run {run + 1} of {runs}: {name}")
            seconds = ways[name]()
            if run >= 0:
                taken[name].append(seconds)
    common.progress("")
    return [common.Measure(name, values) for name, values in taken.items()]


def upgrades(server: common.Server, folder: Path, *, revisions: int, rows: int, runs: int) -> list[common.Measure]:
    """Time the upgrade in all ways, each time on fresh tables."""
    with server.database() as template:
        tables(template, rows)

        def on_fresh_tables(way: Callable[[Path, str], float], chain: Path) -> float:
            with server.database(template.name) as database:
                return way(chain, database.sqlalchemy_url)

        chains = {
            "Alembic": write_chain(folder / "plain", PLAIN, revisions),
            "pgopt": write_chain(folder / "pgopt", OURS, revisions),
            "pgopt, with a journal": write_chain(folder / "journal", OURS, revisions, installed=True),
        }
        ways = {name: partial(on_fresh_tables, in_process, chain) for name, chain in chains.items()}
        for name in ("Alembic", "pgopt"):
            ways[f"{name}, as a command"] = partial(on_fresh_tables, as_command, chains[name])
        return alternate(ways, runs)


# -- imports -------------------------------------------------------------------------------------------------------------

TIMED_IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
started, worked = time.perf_counter(), time.process_time()
import {module}
print(time.process_time() - worked, time.perf_counter() - started)
"""


def site_folder(folder: Path, *, with_pgopt: bool) -> Path:
    """Show what is installed as it is, with or without pgopt and its entry point."""
    import pgopt

    folder.mkdir()
    for place in site.getsitepackages():
        for entry in Path(place).iterdir():
            if not entry.name.startswith("pgopt") or (with_pgopt and entry.suffix == ".dist-info"):
                with contextlib.suppress(FileExistsError):
                    (folder / entry.name).symlink_to(entry)
    if with_pgopt:
        (folder / "pgopt").symlink_to(Path(pgopt.__file__).parent)
    return folder


def imports(folder: Path, runs: int) -> list[common.Measure]:
    """Time the imports in fresh interpreters, by the processor time of the import alone."""
    without = site_folder(folder / "without", with_pgopt=False)
    installed = site_folder(folder / "with", with_pgopt=True)

    def fresh(module: str, packages: Path) -> float:
        arguments = [sys.executable, "-S", "-c", TIMED_IMPORT.format(module=module), str(packages)]
        done = subprocess.run(
            arguments, check=True, capture_output=True, text=True, env=environment(folder), cwd=folder
        )
        return float(done.stdout.split()[0])

    return alternate(
        {
            "import alembic, pgopt not installed": lambda: fresh("alembic", without),
            "import alembic, pgopt installed": lambda: fresh("alembic", installed),
            "import pgopt": lambda: fresh("pgopt", installed),
        },
        runs,
    )


# -- what is printed -----------------------------------------------------------------------------------------------------


def compare(measures: Sequence[common.Measure]) -> Iterator[dict[str, Any]]:
    """Put each measure beside the first of its kind; the ratio is the median of the ratios of each run."""
    for measure in measures:
        base = measures[0]
        if measure.name.endswith("as a command"):
            base = next(other for other in measures if other.name == "Alembic, as a command")
        ratios = [ours / theirs for ours, theirs in zip(measure.values, base.values, strict=True)]
        yield {**measure.as_json(), "beside": base.name, "ratio": statistics.median(ratios)}


def print_upgrades(title: str, rows: list[dict[str, Any]], revisions: int) -> None:
    """Print the times of upgrades."""
    common.print_table(
        title,
        ["upgrade by", "median s", "least s", "most s", "ms per index", "ratio"],
        [
            [
                row["name"],
                f"{row['median']:.2f}",
                f"{row['min']:.2f}",
                f"{row['max']:.2f}",
                f"{row['median'] / revisions * 1000:.1f}",
                f"{row['ratio']:.2f}",
            ]
            for row in rows
        ],
    )


def print_imports(rows: list[dict[str, Any]]) -> None:
    """Print the times of imports."""
    common.print_table(
        f"Imports: processor time, {len(rows[0]['values'])} runs of each (goal: at most 1.1)",
        ["import", "median ms", "least ms", "ratio"],
        [
            [row["name"], f"{row['median'] * 1000:.0f}", f"{row['min'] * 1000:.0f}", f"{row['ratio']:.2f}"]
            for row in rows
        ],
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--revisions", type=int, default=200)
    parser.add_argument("--rows", type=int, default=50_000, help="rows of the filled tables")
    parser.add_argument("--runs", type=int, default=5, help="runs of each upgrade")
    parser.add_argument("--imports", type=int, default=21, help="runs of each import")
    common.add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    said = arguments()
    result: dict[str, Any] = {"revisions": said.revisions, "upgrade": {}}
    with tempfile.TemporaryDirectory(prefix="pgopt-bench-") as made:
        folder = Path(made)
        if said.imports:
            result["imports"] = list(compare(imports(folder, said.imports)))
            print_imports(result["imports"])
        if said.runs:
            with common.server() as server:
                for rows in (0, said.rows):
                    measured = upgrades(server, folder / str(rows), revisions=said.revisions, rows=rows, runs=said.runs)
                    result["upgrade"][rows] = list(compare(measured))
                    title = f"{said.revisions} indexes on tables of {rows:,} rows, {said.runs} runs of each (goal: at most 1.15)"
                    print_upgrades(title, result["upgrade"][rows], said.revisions)
                settings = server.settings()
        else:
            settings = None
    result["surroundings"] = common.surroundings(settings)
    print()
    common.print_surroundings(result["surroundings"])
    common.write_json(said.json, result)


if __name__ == "__main__":
    main()
