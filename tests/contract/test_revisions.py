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
from tests.integration.test_undo import KINDS, project_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.databases import Database
    from tests.integration.alembic_project import Project

REVISIONS = int(os.environ.get("PGOPT_REVISIONS", "12" if IN_TURN else "60"))
"""How many are drawn; the seed says which."""

TABLES = [("t", None), ("t", "other"), ("parts", None)]
COLUMNS = ["status", "v", "w"]

SETUP = """
create schema other;
create table t (id bigint primary key, v int not null default 0, w int not null default 0, status text not null default 'x');
create table other.t (like t including all);
create table parts (like t including all) partition by range (id);
create table parts_1 partition of parts for values from (0) to (15);
create table parts_2 partition of parts for values from (15) to (100);
insert into t select n, n, 0, 's' || n % 3 from generate_series(1, 40) n;
insert into other.t select * from t where id <= 25;
insert into parts select * from t where id <= 30;
create index i1 on t (status);
create index i1 on other.t (v);
alter table t add constraint c1 check (v > -1000);
alter table other.t add constraint c1 check (v > -1000);
"""

Drawn = tuple[str, str] | None
"""An operation and what takes it back, as a migration says them; the second may be nothing."""


@dataclass
class Sketch:
    """What is there, as far as operations are drawn that change it."""

    chance: random.Random
    indexes: dict[tuple[str | None, str], tuple[tuple[str, str | None], str]] = field(
        default_factory=lambda: {(None, "i1"): (TABLES[0], "status"), ("other", "i1"): (TABLES[1], "v")}
    )
    checks: dict[tuple[tuple[str, str | None], str], str] = field(
        default_factory=lambda: {(TABLES[0], "c1"): "v > -1000", (TABLES[1], "c1"): "v > -1000"}
    )
    columns: dict[tuple[tuple[str, str | None], str], str] = field(default_factory=dict)

    def revision(self) -> tuple[str, str]:
        """Draw some operations, and the way back from them."""
        kinds = [self.create, self.drop, self.rename, self.replace, self.reindex, self.check, self.uncheck]
        kinds += [self.add, self.remove, self.fill, self.fill_new]
        # names serve twice where there is little to draw from
        kinds = self.chance.choice([kinds, kinds[:5], kinds[5:7], kinds[7:], kinds[9:]])
        drawn = [each for each in (self.chance.choice(kinds)() for _ in range(self.chance.randint(2, 6))) if each]
        up, down = [each for each, _ in drawn], [each for _, each in reversed(drawn) if each]
        return "\n".join(up) or "pass", "\n".join(down) or "pass"

    def _table(self) -> tuple[str, str | None]:
        return self.chance.choice(TABLES)

    def _index(self) -> tuple[tuple[str | None, str], tuple[str, str | None], str] | None:
        if not self.indexes:
            return None
        at = self.chance.choice(list(self.indexes))
        return at, *self.indexes[at]

    def create(self) -> Drawn:
        table, name, column = self._table(), self.chance.choice(["i1", "i2", "i3"]), self.chance.choice(COLUMNS)
        if (table[1], name) in self.indexes:
            return None
        self.indexes[table[1], name] = table, column
        said = f"({name!r}, {table[0]!r}, [{column!r}]{_schema(table)})"
        return f"op.create_index_concurrently{said}", f"op.drop_index_concurrently{said}"

    def drop(self) -> Drawn:
        if (found := self._index()) is None:
            return None
        at, table, column = found
        del self.indexes[at]
        said = f"({at[1]!r}, {table[0]!r}, [{column!r}]{_schema(table)})"
        return f"op.drop_index_concurrently{said}", f"op.create_index_concurrently{said}"

    def rename(self) -> Drawn:
        name = self.chance.choice(["i1", "i2", "i3"])
        if (found := self._index()) is None or ((at := found[0])[0], name) in self.indexes:
            return None
        self.indexes[at[0], name] = self.indexes.pop(at)
        rename = f"op.rename_index({{!r}}, {{!r}}{_schema(found[1])})".format
        return rename(at[1], name), rename(name, at[1])

    def replace(self) -> Drawn:
        column = self.chance.choice(COLUMNS)
        if (found := self._index()) is None or found[2] == column:
            return None
        at, table, old = found
        self.indexes[at] = table, column
        replace = (
            f"op.replace_index_concurrently({at[1]!r}, {table[0]!r}, [{{!r}}], old=[{{!r}}]{_schema(table)})".format
        )
        return replace(column, old), replace(old, column)

    def reindex(self) -> Drawn:
        found = self._index()
        return found and (f"op.reindex_concurrently({found[0][1]!r}{_schema(found[1])})", "")

    def check(self) -> Drawn:
        table, name = self._table(), self.chance.choice(["c1", "c2"])
        if (table, name) in self.checks:
            return None
        text = self.checks[table, name] = self.chance.choice(["v > -1000", "w > -1000", "v > -2000"])
        said = f"({name!r}, {table[0]!r}, {text!r}{_schema(table)})"
        return f"op.create_check_constraint_online{said}", f"op.drop_check_constraint_online{said}"

    def uncheck(self) -> Drawn:
        if not self.checks:
            return None
        table, name = self.chance.choice(list(self.checks))
        said = f"({name!r}, {table[0]!r}, {self.checks.pop((table, name))!r}{_schema(table)})"
        return f"op.drop_check_constraint_online{said}", f"op.create_check_constraint_online{said}"

    def add(self) -> Drawn:
        table, name = self._table(), self.chance.choice(["a1", "a2"])
        if (table, name) in self.columns:
            return None
        default = self.chance.choice(["", ", default='7'", ", default='(random() * 0 + 3)::int'"])
        said = self.columns[table, name] = f"({table[0]!r}, {name!r}, 'int'{default}{_schema(table)})"
        return f"op.add_column_online{said}", f"op.drop_column_online{said}"

    def remove(self) -> Drawn:
        if not self.columns:
            return None
        said = self.columns.pop(self.chance.choice(list(self.columns)))
        return f"op.drop_column_online{said}", f"op.add_column_online{said}"

    def fill(self) -> Drawn:
        table, column, by = self._table(), self.chance.choice(["v", "w"]), self.chance.choice([1, 10, 100])
        where = self.chance.choice(["", "", ", where='id > 5'"])
        fill = f"op.backfill({table[0]!r}, set={{{{{column!r}: '{column} {{}} {by}'}}}}{where}{_schema(table)})".format
        return fill("+"), fill("-")

    def fill_new(self) -> Drawn:
        if not self.columns:
            return None
        table, name = self.chance.choice(list(self.columns))
        return f"op.backfill({table[0]!r}, set={{{name!r}: 'v + 1'}}{_schema(table)})", ""


def _schema(table: tuple[str, str | None]) -> str:
    return f", schema={table[1]!r}" if table[1] else ""


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
    case.fuse.set()
    case.perform("upgrade")
    count = len(case.fuse.sent)
    states["b"] = case.state()
    case.perform("downgrade")
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
    assert not case.is_known, case.told
