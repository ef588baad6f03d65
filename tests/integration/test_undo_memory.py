"""What operations remember of what was there before, revision by revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation, NotInstalled, StatementFailed, operations
from pgopt.operations import (
    CreateExtension,
    DropExtension,
    InstallPgopt,
    Operation,
    ResetStorageParameters,
    SetColumnStatistics,
    SetStorageParameters,
    UninstallPgopt,
)
from tests.integration.alembic_project import Project
from tests.integration.test_preview import preview

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Database

TABLE = "create table t (id int primary key, a text)"
PARTS = """
create table p (id int) partition by range (id);
create table p_1 partition of p for values from (0) to (10);
create table p_2 partition of p for values from (10) to (20);
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Project:
    """A chain that has installed the pgopt schema."""
    database.run(TABLE)
    found = Project.with_run(tmp_path, database.server.url(database.name))
    found.revision("first", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    found.upgrade()
    return found


def options(database: Database, name: str = "t") -> list[str] | None:
    found: list[str] | None = database.value(f"select reloptions from pg_class where oid = '{name}'::regclass")
    return found


def remembered(database: Database) -> list[tuple[str, str]]:
    return database.rows("select revision, operation from pgopt.undo order by 1, 2")


def fillfactor(project: Project, revision: str, value: int) -> None:
    said = f"'t', {{'fillfactor': {value}}}"
    project.revision(revision, f"op.set_storage_parameters({said})", f"op.reset_storage_parameters({said})")


def test_each_revision_gives_back_what_it_has_found(project: Project, database: Database) -> None:
    database.run("alter table t set (fillfactor = 50)")
    # the last one says the same as the first
    for revision, value in (("b", 70), ("c", 80), ("d", 70)):
        fillfactor(project, revision, value)
    project.upgrade()
    assert [revision for revision, _ in remembered(database)] == ["b", "c", "d"]
    for revision, value in (("d", 80), ("c", 70), ("b", 50)):
        project.downgrade("-1")
        assert options(database) == [f"fillfactor={value}"], revision
    assert remembered(database) == []


def test_a_value_that_was_there_already_stays(project: Project, database: Database) -> None:
    database.run("alter table t set (fillfactor = 70)")
    fillfactor(project, "b", 70)
    project.upgrade()
    project.downgrade("-1")
    assert options(database) == ["fillfactor=70"]


def test_a_downgrade_that_is_run_again_gives_back_no_more(project: Project, database: Database) -> None:
    database.run("alter table t set (fillfactor = 70)")
    said = "'t', {'fillfactor': 70}"
    project.revision(
        "b", f"op.set_storage_parameters({said})", f"op.reset_storage_parameters({said})\nraise ValueError('later')"
    )
    project.upgrade()
    for _ in range(2):
        with pytest.raises(ValueError, match="later"):
            project.downgrade("-1")
        assert options(database) == ["fillfactor=70"]
    assert project.undo("b") == "downgrade"
    assert options(database) == ["fillfactor=70"]
    assert remembered(database) == [("b", "set_storage_parameters")]


def test_a_revision_that_failed_is_undone(project: Project, database: Database) -> None:
    database.run("alter table t set (fillfactor = 50)")
    project.revision(
        "b",
        "op.set_storage_parameters('t', {'fillfactor': 70})\nop.create_index_concurrently('ix', 't', ['no_such'])",
        "op.drop_index_concurrently('ix', 't')\nop.reset_storage_parameters('t', ['fillfactor'])",
    )
    with pytest.raises(StatementFailed, match="no_such"):
        project.upgrade()
    assert options(database) == ["fillfactor=70"]
    assert project.undo("b") == "upgrade"
    assert options(database) == ["fillfactor=50"]
    assert remembered(database) == []


def test_what_a_downgrade_does_not_take_back_is_forgotten_with_its_stamp(project: Project, database: Database) -> None:
    project.revision(
        "b",
        "op.set_storage_parameters('t', {'fillfactor': 70})",
        "op.set_storage_parameters('t', {'autovacuum_enabled': True, 'fillfactor': 40})",
    )
    project.upgrade()
    project.downgrade("-1")
    assert options(database) == ["autovacuum_enabled=on", "fillfactor=40"]
    assert remembered(database) == []
    project.upgrade()
    assert database.value("select was::text from pgopt.undo") != "[]"
    project.downgrade("base")


def test_the_schema_is_not_uninstalled_while_it_remembers(database: Database) -> None:
    database.run(TABLE)
    database.perform(InstallPgopt(1), SetStorageParameters("t", {"fillfactor": 70}))
    with pytest.raises(InvalidOperation, match=r"pgopt\.undo still holds what undoes set_storage_parameters"):
        database.perform(UninstallPgopt(1))
    database.perform(ResetStorageParameters("t", ["fillfactor"]), UninstallPgopt(1))


def test_what_others_set_meanwhile_stays(database: Database) -> None:
    database.run(TABLE + "; alter table t set (fillfactor = 50, autovacuum_enabled = off, parallel_workers = 2)")
    setting = SetStorageParameters("t", {"fillfactor": 70, "toast.autovacuum_enabled": False})
    database.perform(InstallPgopt(1), setting)
    database.run(
        "alter table t set (parallel_workers = 3, autovacuum_vacuum_threshold = 9); alter table t reset (autovacuum_enabled)"
    )
    database.perform(setting.reverse())
    assert options(database) == ["fillfactor=50", "parallel_workers=3", "autovacuum_vacuum_threshold=9"]


def test_a_partition_that_came_later_is_given_what_the_others_had(database: Database) -> None:
    database.run(PARTS + "alter table p_1 set (fillfactor = 40); alter table p_2 set (fillfactor = 50)")
    setting = SetStorageParameters("p", {"fillfactor": 70})
    database.perform(InstallPgopt(1), setting)
    database.run("create table p_3 partition of p for values from (20) to (30) with (fillfactor = 70)")
    database.run("alter table p detach partition p_2; drop table p_2")
    database.perform(setting.reverse())
    assert (options(database, "p_1"), options(database, "p_3")) == (["fillfactor=40"], ["fillfactor=50"])


@pytest.mark.parametrize(
    "operation",
    [
        SetStorageParameters("t", {"fillfactor": 70}),
        ResetStorageParameters("t", {"fillfactor": 70}),
        SetColumnStatistics("t", "a", 100),
        CreateExtension("pg_trgm"),
        DropExtension("pg_trgm"),
    ],
    ids=repr,
)
def test_without_the_schema_nothing_is_changed(database: Database, operation: Operation) -> None:
    database.run(TABLE)
    before = database.dump()
    with pytest.raises(NotInstalled, match=r"add `op\.install_pgopt\(version=1\)` to an earlier revision$"):
        database.perform(operation)
    assert database.dump() == before


def test_the_preview_remembers_nothing(project: Project, database: Database) -> None:
    fillfactor(project, "b", 70)
    (revision,) = preview(project).revisions
    (shown,) = revision.parts
    assert shown.refused is None  # type: ignore[union-attr]
    assert shown.steps[0].locks == ["SHARE UPDATE EXCLUSIVE on public.t"]  # type: ignore[union-attr]
    assert (options(database), remembered(database)) == (None, [])


# -- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"fillfactor": 70, "fillfactr": 80}, 'unrecognized parameter "fillfactr"'),
        ({"fillfactor": 5}, 'value 5 out of bounds for option "fillfactor"'),
    ],
)
def test_unknown_parameters_change_nothing(database: Database, parameters: dict[str, object], sentence: str) -> None:
    database.run(TABLE)
    database.perform(InstallPgopt(1))
    with pytest.raises(StatementFailed, match=rf"^set_storage_parameters t: {sentence}"):
        database.perform(SetStorageParameters("t", parameters))
    assert (options(database), remembered(database)) == (None, [])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("v", r"public\.v is a view, not a table"),
        ("no_such", "there is no table, index or materialized view 'no_such'"),
        ("narrow", r"public\.narrow has no TOAST table that toast\.autovacuum_enabled could be set of"),
        ("p", r"public\.p has no partitions"),
    ],
)
def test_what_has_no_parameters_is_refused(database: Database, name: str, sentence: str) -> None:
    database.run(TABLE + "; create view v as table t; create table narrow (a int);")
    database.run("create table p (a int) partition by list (a)")
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match=sentence):
        database.perform(SetStorageParameters(name, {"toast.autovacuum_enabled": True}))


# -- extensions ----------------------------------------------------------------------------------------------------------

TRGM = ("op.create_extension('pg_trgm')", "op.drop_extension('pg_trgm')")


def extensions(database: Database) -> list[str]:
    return [name for (name,) in database.rows("select extname from pg_extension where extname <> 'plpgsql' order by 1")]


def test_a_downgrade_drops_no_extension_that_it_has_not_made(project: Project, database: Database) -> None:
    database.run("create extension pg_trgm")
    project.revision("b", *TRGM)
    project.upgrade()
    project.downgrade("-1")
    assert extensions(database) == ["pg_trgm"]


def test_the_revision_that_made_an_extension_drops_it(project: Project, database: Database) -> None:
    project.revision("b", *TRGM)
    project.revision("c", *TRGM)
    project.upgrade()
    assert remembered(database) == [("b", "create_extension")]
    project.downgrade("-1")
    assert extensions(database) == ["pg_trgm"]
    project.downgrade("-1")
    assert extensions(database) == []
    assert remembered(database) == []


def test_an_extension_that_a_later_revision_drops_comes_back_as_it_was(project: Project, database: Database) -> None:
    database.run("create schema s")
    project.revision("b", "op.create_extension('pg_trgm', schema='s', version='1.5')", TRGM[1])
    project.revision("c", TRGM[1], TRGM[0])
    project.upgrade("b")
    before = database.dump()
    project.upgrade("c")
    assert extensions(database) == []
    project.downgrade("b")
    assert database.dump() == before
    assert database.value("select extversion from pg_extension where extname = 'pg_trgm'") == "1.5"
    project.downgrade("first")
    assert extensions(database) == []


def test_what_came_with_an_extension_goes_with_it_and_what_was_there_stays(database: Database) -> None:
    database.run("create extension cube")
    with_cube = CreateExtension("earthdistance", cascade=True)
    database.perform(InstallPgopt(1), with_cube, with_cube.reverse())
    assert extensions(database) == ["cube"]
    database.run("drop extension cube")
    database.perform(with_cube, with_cube.reverse())
    assert extensions(database) == []


def test_an_extension_that_something_depends_on_stays(project: Project, database: Database) -> None:
    project.revision("b", "op.create_extension('citext')", "op.drop_extension('citext')")
    project.upgrade()
    database.run("create table emails (email citext)")
    with pytest.raises(StatementFailed, match=r"cannot drop extension citext .* column email of table emails depends"):
        project.downgrade("-1")
    assert extensions(database) == ["citext"]


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        (CreateExtension("no_such"), "this server has no extension 'no_such': install its package there first"),
        (CreateExtension("pg_trgm", schema="s"), "is there already, with schema 'public' and not 's'"),
        (DropExtension("pg_trgm", version="1.3"), "with version .* and not '1.3'"),
    ],
    ids=repr,
)
def test_other_extensions_are_refused(database: Database, operation: operations.Operation, sentence: str) -> None:
    database.run("create schema s; create extension pg_trgm")
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match=sentence):
        database.perform(operation)
