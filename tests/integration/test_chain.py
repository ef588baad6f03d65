"""The repository's own chain of revisions: every stop on the way up is the same on the way down, and as a script."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from tests.databases import Database

ROOT = Path(__file__).parents[2]
REVISIONS = [script.revision for script in ScriptDirectory(str(ROOT / "migrations")).walk_revisions()][::-1]


def alembic(database: Database, *arguments: str) -> str:
    """Run alembic as somebody in the repository does."""
    command = [sys.executable, "-m", "alembic", "-x", f"url={database.server.url(database.name)}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_revision_down_gives_back_what_was_there(database: Database) -> None:
    stops = [("base", database.dump())]
    for revision in REVISIONS:
        alembic(database, "upgrade", revision)
        stops.append((revision, database.dump()))
    # all but the first, which installs what dump() leaves out
    assert len({dump for _, dump in stops}) == len(REVISIONS), "a revision changes nothing"
    for revision, dump in reversed(stops[:-1]):
        alembic(database, "downgrade", revision)
        assert database.dump() == dump, f"downgrade to {revision}"
    assert database.value("select to_regnamespace('pgopt')") is None
    alembic(database, "upgrade", "head")
    assert database.dump() == stops[-1][1]


# those that must see the database; migrations/README.md says which
UNSEEN = {"0004"}


def test_the_script_of_a_part_of_the_chain_does_the_same(database: Database) -> None:
    first, last = "base", "0003"
    before = database.dump()
    alembic(database, "upgrade", last)
    after = database.dump()
    alembic(database, "downgrade", first)
    database.psql(alembic(database, "upgrade", f"{first}:{last}", "--sql"))
    assert database.dump() == after
    assert database.value("select version_num from alembic_version") == last
    database.psql(alembic(database, "downgrade", f"{last}:{first}", "--sql"))
    assert database.dump() == before


def test_the_page_of_the_chain_says_what_must_see_the_database() -> None:
    lines = (ROOT / "migrations" / "README.md").read_text().splitlines()
    said = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in lines if line.startswith("| 0")}
    assert list(said) == REVISIONS
    assert {revision for revision, scriptable in said.items() if scriptable != "yes"} == UNSEEN
    for before, revision in pairwise(["base", *REVISIONS]):
        command = [sys.executable, "-m", "alembic", "upgrade", f"{before}:{revision}", "--sql"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (revision not in UNSEEN)
        assert ("it must see the database" in done.stderr + done.stdout) == (revision in UNSEEN)


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_revision_says_what_it_does(revision: str) -> None:
    script = ScriptDirectory(str(ROOT / "migrations")).get_revision(revision)
    assert script is not None
    assert script.doc.endswith(".")
    assert Path(script.path).name.startswith(f"{revision}_")
