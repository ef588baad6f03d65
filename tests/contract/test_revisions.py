"""Promise 2 for whole revisions: drawn at random, interrupted at random, then run again or taken back in any order of commands."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import Engine

from pgopt import PgoptError
from tests.contract.failures import Failure, Fuse, fail
from tests.contract.killpoints import IN_TURN, SEED
from tests.contract.sketches import SETUP, Sketch
from tests.integration.test_undo import KINDS, project_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.databases import Database
    from tests.integration.alembic_project import Project

REVISIONS = int(os.environ.get("PGOPT_REVISIONS", "20" if IN_TURN else "60"))
"""How many are drawn; the seed says which."""


@dataclass
class Scenario:
    """A revision `b` whose commands fail now and then."""

    project: Project
    database: Database
    fuse: Fuse
    told: list[str] = field(default_factory=list)
    """What was done, for whoever has to find out."""

    def perform(self, command: str) -> None:
        """Run a command to its end."""
        {
            "upgrade": lambda: self.project.upgrade("b"),
            "downgrade": lambda: self.project.downgrade("a"),
            "undo": lambda: self.project.undo("b"),
        }[command]()

    def interrupt(self, command: str, at: int, failure: Failure) -> None:
        """Run a command that fails at a statement, if it gets so far; what is refused changes nothing."""
        try:
            fail(self.fuse, at, failure, lambda: self.perform(command))
            said = "failed" if self.fuse.blown else "done or killed"
        except PgoptError as error:
            said = f"refused: {error}"
        self.told.append(f"{command} that fails at statement {at} ({failure}): {said}")

    def may(self, command: str) -> bool:
        """Run a command to its end, unless it is refused."""
        self.fuse.set()
        try:
            self.perform(command)
        except PgoptError as error:
            self.told.append(f"{command}: refused: {error}")
            return False
        self.told.append(command)
        return True

    def state(self) -> Any:
        """The schema, and all rows."""
        rows = self.database.contents()
        return self.database.dump(), {table: rows[table] for table in rows if "alembic_version" not in table}

    @property
    def revision(self) -> str:
        """Where the version table stands."""
        return str(self.database.value("select version_num from alembic_version"))

    @property
    def is_known(self) -> bool:
        """Whether the journal has anything of the revision."""
        tables = ("pgopt.run", "pgopt.progress", "pgopt.undo")
        return any(self.database.value(f"select exists (select from {each} where revision = 'b')") for each in tables)


@pytest.fixture
def scenario(database: Database, tmp_path: Path) -> Iterator[Callable[[str], Scenario]]:
    """Make a scenario with such an env.py, at revision `a`."""
    fuse = Fuse(Engine)  # type: ignore[arg-type]

    def make(kind: str) -> Scenario:
        database.run(SETUP)
        project = project_of(kind, database, tmp_path)
        project.environment |= {"PGOPT_LOCK_ATTEMPTS": "1", "PGOPT_BATCH_ROWS": "7", "PGOPT_BATCH_MOST": "7"}
        project.environment |= {"PGOPT_REPLICATION_LAG": "0"}
        project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
        project.upgrade()
        return Scenario(project, database, fuse)

    yield make
    fuse.remove()


@pytest.mark.parametrize("number", range(REVISIONS))
def test_a_revision_ends_where_it_should_or_began(number: int, scenario: Callable[[str], Scenario]) -> None:
    chance = random.Random(f"{SEED} {number}")
    up, down = Sketch(chance).revision()
    case = scenario(kind := chance.choice(KINDS))
    case.told += [f"PGOPT_KILL_SEED={SEED}, {kind}", up, "-- down", down]
    case.project.revision("b", up, down)
    states = {"a": case.state()}
    if not case.may("upgrade"):
        assert not case.is_known or case.may("undo"), case.told
        assert case.state() == states["a"], case.told
        return
    count = len(case.fuse.sent)
    states["b"] = case.state()
    assert case.may("downgrade"), case.told
    assert case.state() == states["a"], case.told
    command, home, target = chance.choice([("upgrade", "a", "b"), ("upgrade", "a", "b"), ("downgrade", "b", "a")])
    if home == "b":
        case.perform("upgrade")

    for turn in range(chance.randint(1, 4)):
        which = command if turn == 0 else chance.choice([command, "undo"])
        case.interrupt(which, chance.randint(1, count + 20), chance.choice(list(Failure)))
        if case.revision == target or not case.is_known:
            break

    if case.revision == home and case.is_known:
        ways = chance.sample([command, "undo"], 2)
        assert any(case.may(way) for way in ways), f"nothing goes on: {case.told}"
    if case.revision == home:
        assert case.state() == states[home], case.told
        assert case.may(command), case.told
    assert case.revision == target
    assert case.state() == states[target], case.told
    assert case.may({"upgrade": "downgrade", "downgrade": "upgrade"}[command]), case.told
    assert case.state() == states[home], case.told
    assert home == "b" or not case.is_known, case.told
