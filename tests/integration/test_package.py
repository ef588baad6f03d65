"""The package as it is found from outside: its entry point, its names, and every order of imports."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import pgopt
from pgopt.operations.base import Action, operation

if TYPE_CHECKING:
    from pathlib import Path

ORDERS = [
    "import pgopt",
    "import pgopt.operations",
    "import pgopt.operations.indexes",
    "import pgopt.op",
    "import pgopt.env",
    "import pgopt.plugin",
    "import pgopt.errors",
    "from pgopt import op",
    "from pgopt import reversible",
    "import alembic",
    "from alembic import op",
    "import alembic.operations",
]
# the directives are there, once each, and pgopt is whole
WHOLE = """
import alembic, pgopt, pgopt.env
from alembic.operations import Operations
from pgopt import op
from pgopt.operations.kinds import KINDS
missing = [name for name in KINDS if not hasattr(Operations, name) or name not in dir(op)]
assert not missing, missing
assert len(KINDS) >= 8
"""


def python(*arguments: str, cwd: Path | None = None) -> str:
    """Run a new interpreter, in which warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("first", ORDERS)
def test_imports_work_in_every_order(first: str, tmp_path: Path) -> None:
    python("-c", first + WHOLE, cwd=tmp_path)


def test_alembic_finds_the_directives_with_no_line_in_env_py(tmp_path: Path) -> None:
    # no env.py at all: the command line alone loads the entry point
    seen = python(
        "-c",
        "import alembic.config, sys\n"
        "from alembic.operations import Operations\n"
        "print(hasattr(Operations, 'create_index_concurrently'), 'psycopg' in sys.modules)",
        cwd=tmp_path,
    )
    assert seen.split() == ["True", "False"], "the directive is there, and psycopg is imported only when it is needed"


def test_an_operation_is_loaded_when_it_is_said(tmp_path: Path) -> None:
    seen = python(
        "-c",
        "import pgopt, sys\n"
        "before = 'pgopt.operations.indexes' in sys.modules\n"
        "pgopt.operations.CreateIndexConcurrently\n"
        "print(before, 'pgopt.operations.indexes' in sys.modules, 'pgopt.operations.partitions' in sys.modules)",
        cwd=tmp_path,
    )
    assert seen.split() == ["False", "True", "False"]


def test_an_application_can_have_operations_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from pgopt.operations.base import Action, operation\n"
        "@operation('greet')\n"
        "class Greet(Action):\n"
        "    whom: str\n"
        "    def plan(self, db): return iter(())\n"
    )
    seen = python(
        "-c",
        "import own\n"
        "from alembic.migration import MigrationContext\n"
        "from alembic.operations import Operations\n"
        "from sqlalchemy.dialects import postgresql\n"
        "context = MigrationContext.configure(dialect=postgresql.dialect(), opts={'as_sql': True})\n"
        "Operations(context).greet('you')\n"
        "import pgopt.directives\n"
        "print(Operations.greet.__doc__, pgopt.directives.kind_of('greet'))\n",
        cwd=tmp_path,
    )
    assert "-- greet" in seen
    assert "help(pgopt.directives.kind_of('greet')). <class 'own.Greet'>" in seen


def test_an_operation_without_a_way_back_is_none(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from pgopt.operations.base import StateOperation, operation\n"
        "@operation('greet')\n"
        "class Greet(StateOperation):\n"
        "    def plan(self, db): return iter(())\n"
    )
    with pytest.raises(AssertionError, match=r"abstract (class|method).*reverse"):
        python("-c", "import own\nown.Greet()\n", cwd=tmp_path)


@pytest.mark.parametrize(("directive", "whose"), [("analyze", "pgopt"), ("create_index", "Alembic")])
def test_an_application_cannot_take_the_name_of_an_operation(directive: str, whose: str) -> None:
    with pytest.raises(pgopt.InvalidOperation, match=f"{whose} has an operation of that name"):
        operation(directive)(type("Own", (Action,), {"__annotations__": {}}))


@pytest.mark.parametrize("module", sorted(module.name for module in pkgutil.walk_packages(pgopt.__path__, "pgopt.")))
def test_public_names_are_there(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in getattr(found, "__all__", ()) if not hasattr(found, name)] == []
    assert found.__doc__


def test_public_names_are_sorted_and_complete() -> None:
    assert pgopt.__all__ == sorted(pgopt.__all__)
    from pgopt import errors

    raised = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, pgopt.PgoptError)
    }
    assert raised <= set(pgopt.__all__), "an error that nobody can catch by name"
