"""Builds the wheel, installs it into an empty environment, and uses it from there: `make test-wheel`.

A file that is missing in the package, or a dependency that it does not name, shows here and nowhere else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTABLE = "0001:0003"

# the command and the metrics need their extras; without them all else must be importable
IMPORTS = """
import importlib, pkgutil, sys
import pgopt
assert "site-packages" in pgopt.__file__, pgopt.__file__
count = 0
for module in pkgutil.walk_packages(pgopt.__path__, "pgopt."):
    if module.name.startswith(("pgopt.cli.", "pgopt.plan.bars")) and "with-cli" not in sys.argv:
        continue
    if module.name == "pgopt.monitoring.metrics" and "with-metrics" not in sys.argv:
        continue
    found = importlib.import_module(module.name)
    for name in getattr(found, "__all__", ()):
        getattr(found, name)
        count += 1
from pgopt import op
for name in pgopt.operations.kinds.KINDS:
    getattr(op, name)
    count += 1
print(f"{count} public names")
"""


def main() -> None:
    """Build, install, use."""
    with tempfile.TemporaryDirectory(prefix="pgopt-") as folder:
        work = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", str(work), str(ROOT), quiet=True)
        wheel = next(work.glob("*.whl"))
        python = work / "venv/bin/python"
        venv.create(work / "venv", with_pip=True)
        install(python, str(wheel))
        run(str(python), "-c", IMPORTS, cwd=work)
        write_script(python, work)
        without_cli(python, work)
        install(python, f"{wheel}[cli]")
        run(str(python), "-c", IMPORTS, "with-cli", cwd=work)
        run(str(python.parent / "pgopt"), "--help", cwd=work, quiet=True)
        install(python, f"{wheel}[cli,metrics]")
        run(str(python), "-c", IMPORTS, "with-cli", "with-metrics", cwd=work)
        print(f"{wheel.name} is whole")


def install(python: Path, what: str) -> None:
    """Install with the versions that the tests run with."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), what]
    run(*command, "--disable-pip-version-check")


def write_script(python: Path, work: Path) -> None:
    """Let the installed package write the revisions that can be written as a script."""
    project = work / "project"
    shutil.copytree(ROOT / "migrations", project / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", project)
    script = run(str(python), "-m", "alembic", "upgrade", SCRIPTABLE, "--sql", cwd=project, quiet=True)
    for line in ("\\set ON_ERROR_STOP on", "CREATE INDEX CONCURRENTLY"):
        if line.lower() not in script.lower():
            sys.exit(f"alembic upgrade {SCRIPTABLE} --sql wrote no {line}:\n{script}")
    print(f"alembic upgrade {SCRIPTABLE} --sql wrote {len(script.splitlines())} lines")


def without_cli(python: Path, work: Path) -> None:
    """Without its extra the command says what to install, in a sentence."""
    done = subprocess.run([python.parent / "pgopt", "--help"], cwd=work, capture_output=True, text=True, check=False)
    if done.returncode == 0 or "pgopt[cli]" not in done.stderr or "Traceback" in done.stderr:
        sys.exit(f"pgopt without its extra should say which one to install:\n{done.stdout}{done.stderr}")


def run(*command: str, cwd: Path | None = None, quiet: bool = False) -> str:
    """Run a command to its end, or end with it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DATABASE_URL")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")
    if not quiet:
        print(done.stdout, end="")
    return done.stdout


if __name__ == "__main__":
    main()
