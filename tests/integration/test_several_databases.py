"""Alembic's template for several databases: each has its own half-done revisions, and they are undone in one go."""

from __future__ import annotations

import textwrap
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from pgopt.cli import plan
from pgopt.errors import HalfDone, InvalidOperation, PgoptError
from pgopt.operations import InstallPgopt
from tests.integration.alembic_project import Project
from tests.integration.test_preview import operations, preview

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Database

# a name that has to be quoted wherever it is written
OTHER = """an "other" 100% 'database'"""
BY_NAME = """\
revision = "a"
down_revision = None

from pgopt import op


def upgrade(engine_name):
    op.create_index_concurrently("ix", "t", ["id"])
    if {stops}:
        raise ValueError("later")


def downgrade(engine_name):
    op.drop_index_concurrently("ix", "t", ["id"])
"""


@pytest.fixture
def other(database: Database) -> Iterator[Database]:
    """A second database."""
    with made(database) as found:
        yield found


@contextmanager
def made(database: Database) -> Iterator[Database]:
    name = OTHER.replace('"', '""')
    database.run(f'drop database if exists "{name}"')
    database.run(f'create database "{name}"')
    try:
        yield replace(database, name=OTHER)
    finally:
        database.run(f'drop database "{name}"')


@pytest.fixture
def project(database: Database, other: Database, tmp_path: Path) -> Project:
    found = Project.from_template(tmp_path, "driver://user:pass@localhost/dbname", "multidb")
    text = found.ini.read_text()
    for name, each in (("dbname2", other), ("dbname", database)):
        each.run("create table t (id int)")
        url = make_url(database.server.url("x")).set(database=each.name).render_as_string(hide_password=False)
        text = text.replace(f"driver://user:pass@localhost/{name}\n", url.replace("%", "%%") + "\n")
    found.ini.write_text(text)
    return found


def revision(project: Project, stops: str) -> None:
    (project.root / "migrations" / "versions" / "a_.py").write_text(textwrap.dedent(BY_NAME).format(stops=stops))


def indexed(*databases: Database) -> list[bool]:
    return [each.value("select to_regclass('ix') is not null") for each in databases]


@pytest.mark.parametrize("stops_in", ["engine1", "engine2"])
@pytest.mark.parametrize("installed", ["remembered", "not remembered"])
def test_what_was_interrupted_is_undone_in_each_database(
    project: Project, database: Database, other: Database, stops_in: str, installed: str
) -> None:
    if installed == "remembered":
        for each in (database, other):
            each.perform(InstallPgopt(1))
    revision(project, f"engine_name == {stops_in!r}")
    with pytest.raises(ValueError, match="later"):
        project.upgrade()
    assert indexed(database, other) == [True, stops_in == "engine2"]
    # the first database was done with: its stamp was committed with its operations
    assert project.undo("a") == "upgrade"
    assert indexed(database, other) == [stops_in == "engine2", False]
    revision(project, "False")
    project.upgrade()
    assert indexed(database, other) == [True, True]
    with pytest.raises(InvalidOperation, match="is stamped, so it"):
        project.undo("a")
    project.downgrade("base")
    assert indexed(database, other) == [False, False]


def test_what_stays_is_told_of_each_database(project: Project, database: Database, other: Database) -> None:
    for each in (database, other):
        each.perform(InstallPgopt(1))
    revision(project, "engine_name == 'engine2'")
    with pytest.raises(ValueError, match="later"):
        project.upgrade()
    # as if the first one had been interrupted, too
    for (row,) in other.rows("select to_jsonb(r)::text from pgopt.run r"):
        text = row.replace("'", "''")
        database.run(f"insert into pgopt.run select * from jsonb_populate_record(null::pgopt.run, '{text}')")
    database.run("delete from alembic_version")
    file = project.root / "migrations" / "versions" / "a_.py"
    file.write_text(file.read_text().replace("    op.drop", "    if engine_name == 'engine1':\n        op.drop"))
    said = project.must("undo", "a", program="pgopt")
    assert f"revision a is as it was in {database.name}, alembic_version before its upgrade\n" in said
    there = f"in {OTHER}, alembic_version"
    assert (
        f"left as it is {there}, since the downgrade does not take it back: create_index_concurrently ix on t" in said
    )
    assert f"revision a is as it was {there} before its upgrade, but for what is left" in said
    assert indexed(database, other) == [False, True]


def test_the_wrong_way_is_refused_in_each_database(project: Project, database: Database, other: Database) -> None:
    other.perform(InstallPgopt(1))
    revision(project, "engine_name == 'engine2'")
    with pytest.raises(ValueError, match="later"):
        project.upgrade()
    other.run("update pgopt.run set revision = 'gone'")
    with pytest.raises(HalfDone, match="revision gone was interrupted"):
        project.upgrade()
    assert indexed(database, other) == [True, True]


def test_a_preview_shows_each_database(
    project: Project, database: Database, other: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    revision(project, "False")
    other.run("create index ix on t (id)")
    (tmp_path / "engine1.sql").write_text("a script that is there already")
    before = [each.dump() for each in (database, other)]
    found = preview(project)
    assert [(each.id, each.direction, each.database, each.unseen) for each in found.revisions] == [
        ("a", "upgrade", database.name, None),
        ("a", "upgrade", OTHER, None),
    ]
    assert [(part.again, part.steps[0].done) for part in operations(found)] == [(False, False), (False, True)]
    assert f"upgrade a in {OTHER}" in "\n".join(plan.text(found))
    assert [each.dump() for each in (database, other)] == before
    assert [each.value("select to_regclass('alembic_version')") for each in (database, other)] == [None, None]
    assert (tmp_path / "engine1.sql").read_text() == "a script that is there already"
    with pytest.raises(PgoptError, match="each with its own URL: leave out --url"):
        preview(project, url="postgresql://localhost/x")


def test_a_preview_names_the_database_in_which_a_revision_is_half_done(project: Project, other: Database) -> None:
    other.perform(InstallPgopt(1))
    revision(project, "engine_name == 'engine2'")
    with pytest.raises(ValueError, match="later"):
        project.upgrade()
    other.run("update pgopt.run set revision = 'gone'")
    (note,) = preview(project).notes
    assert note.startswith(f"{OTHER}: the upgrade of revision gone was interrupted")
