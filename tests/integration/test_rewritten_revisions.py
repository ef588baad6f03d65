"""A run that was interrupted, and a revision that was rewritten before it was run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.test_undo_memory import PARTS, options, project, remembered

if TYPE_CHECKING:
    from tests.databases import Database
    from tests.integration.alembic_project import Project

__all__ = ["project"]


def interrupted(project: Project, before: str) -> None:
    """Run a revision that comes to an end after some of it."""
    project.revision("b", f"{before}\nraise ValueError('later')", after="first")
    with pytest.raises(ValueError, match="later"):
        project.upgrade()


def rewritten(project: Project, up: str, down: str) -> None:
    """Run what has become of it, and take it back."""
    project.revision("b", up, down, after="first")
    project.upgrade()
    project.downgrade("-1")


TREE = (
    PARTS
    + "create index p_id on p (id); alter index p_1_id_idx set (fillfactor = 61);"
    + "alter table p_1 set (autovacuum_vacuum_threshold = 7, fillfactor = 40);"
    + "alter table p_2 set (fillfactor = 50); alter table p_1 alter id set statistics 11;"
    + "alter table t set (toast.autovacuum_vacuum_threshold = 5, autovacuum_enabled = off, fillfactor = 30);"
    + "create index t_a on t (a) with (fillfactor = 62)"
)


@pytest.mark.parametrize(
    ("first", "then", "down"),
    [
        (
            "op.set_storage_parameters('t', {'fillfactor': 70})",
            "op.set_storage_parameters('t', {'fillfactor': 80, 'autovacuum_enabled': None})",
            "op.reset_storage_parameters('t', ['fillfactor', 'autovacuum_enabled'])",
        ),
        (
            "op.set_storage_parameters('t', {'fillfactor': 70}, schema='public')",
            "op.set_storage_parameters('t', {'toast.autovacuum_enabled': False, 'fillfactor': 80})",
            "op.reset_storage_parameters('t', ['fillfactor', 'toast.autovacuum_enabled'])",
        ),
        (
            "op.set_storage_parameters('t', {'toast.autovacuum_vacuum_threshold': 6})",
            "op.set_storage_parameters('t', {'toast.autovacuum_vacuum_threshold': None, 'parallel_workers': 2})",
            "op.reset_storage_parameters('t', ['toast.autovacuum_vacuum_threshold', 'parallel_workers'])",
        ),
        (
            "op.set_storage_parameters('t_a', {'fillfactor': 70})",
            "op.set_storage_parameters('t_a', {'deduplicate_items': False, 'fillfactor': 80})",
            "op.reset_storage_parameters('t_a', ['fillfactor', 'deduplicate_items'])",
        ),
        (
            "op.set_storage_parameters('p_2', {'fillfactor': 70})",
            "op.set_storage_parameters('p', {'fillfactor': 70, 'autovacuum_vacuum_threshold': 8})",
            "op.reset_storage_parameters('p', ['autovacuum_vacuum_threshold', 'fillfactor'])",
        ),
        (
            "op.set_storage_parameters('p', {'fillfactor': 70})",
            "op.set_storage_parameters('p_2', {'fillfactor': 80})\nop.set_storage_parameters('p', {'fillfactor': 90})",
            "op.reset_storage_parameters('p', ['fillfactor'])\nop.reset_storage_parameters('p_2', ['fillfactor'])",
        ),
        (
            "op.set_storage_parameters('p_id', {'fillfactor': 70})",
            "op.set_storage_parameters('p_id', {'deduplicate_items': False, 'fillfactor': 80})",
            "op.reset_storage_parameters('p_id', ['fillfactor', 'deduplicate_items'])",
        ),
        (
            "op.set_column_statistics('p_1', 'id', 100)",
            "op.set_column_statistics('p', 'id', 200, schema='public')",
            "op.reset_column_statistics('p', 'id', 200)",
        ),
        (
            "op.set_column_statistics('p', 'id', 100, schema='public')",
            "op.set_column_statistics('p_1', 'id', 100)\nop.set_column_statistics('p', 'id', 200)",
            "op.reset_column_statistics('p', 'id', None)\nop.reset_column_statistics('p_1', 'id', None)",
        ),
    ],
    ids=["a table", "another way to name it", "toast", "an index", "a part, then all", "all, then a part", "an index of all",
         "a target", "targets"],
)  # fmt: skip
def test_what_an_interrupted_run_has_set_was_not_there(
    project: Project, database: Database, first: str, then: str, down: str
) -> None:
    database.run(TREE)
    before = database.dump()
    interrupted(project, first)
    rewritten(project, then, down)
    assert database.dump() == before
    assert remembered(database) == []


def test_a_partition_that_came_between_two_runs_gets_its_own_back(project: Project, database: Database) -> None:
    database.run(TREE)
    interrupted(project, "op.set_storage_parameters('p', {'fillfactor': 70})\nop.set_column_statistics('p', 'id', 100)")
    # one that somebody has made by hand, and one that has what its siblings have
    database.run("create table p_3 partition of p for values from (20) to (30) with (fillfactor = 45)")
    database.run("alter table p_3 alter id set statistics 12")
    database.run("create table p_4 partition of p for values from (30) to (40) with (fillfactor = 70)")
    database.run("alter table p_4 alter id set statistics 100")
    rewritten(
        project,
        "op.set_storage_parameters('p', {'fillfactor': 80})\nop.set_column_statistics('p', 'id', 200)",
        "op.reset_column_statistics('p', 'id', 200)\nop.reset_storage_parameters('p', {'fillfactor': 80})",
    )
    assert [options(database, f"p_{n}")[-1] for n in (3, 4)] == ["fillfactor=45"] * 2  # type: ignore[index]
    targets = (
        "select nullif(attstattarget, -1)::int from pg_attribute where attname = 'id' and attrelid = 'p_{}'::regclass"
    )
    assert [database.value(targets.format(n)) for n in (1, 2, 3, 4)] == [11, None, 12, 12]
