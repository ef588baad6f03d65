"""A database whose name has to be quoted everywhere, with names that drivers and formats read otherwise, by each driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from tests.integration.alembic_project import Project
from tests.integration.test_several_databases import made

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Database

UP = r"""
op.create_index_concurrently('i%s:x', 'T %(t)s', ['"a%b:c" desc'], where='"a%b:c" <> \'%s :x\'')
op.set_storage_parameters('T %(t)s', {'fillfactor': 70, 'toast.autovacuum_enabled': False})
op.set_column_statistics('T %(t)s', 'a%b:c', 100)
op.create_check_constraint_online('c%k:', 'T %(t)s', '"a%b:c" <> \':q%%\'')
op.backfill('T %(t)s', set={'a%b:c': "'%s:x' || id"}, key=['id'])
"""
DOWN = r"""
op.drop_check_constraint_online('c%k:', 'T %(t)s', '"a%b:c" <> \':q%%\'')
op.reset_column_statistics('T %(t)s', 'a%b:c', 100)
op.reset_storage_parameters('T %(t)s', ['fillfactor', 'toast.autovacuum_enabled'])
op.drop_index_concurrently('i%s:x', 'T %(t)s', ['"a%b:c" desc'], where='"a%b:c" <> \'%s :x\'')
"""


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
def test_no_driver_reads_a_name_as_something_else(database: Database, tmp_path: Path, driver: str) -> None:
    with made(database) as strange:
        strange.run('create table "T %(t)s" (id int not null, "a%b:c" text); insert into "T %(t)s" values (1)')
        url = make_url(strange.server.url("x", driver)).set(database=strange.name)
        project = Project.with_run(tmp_path, url.render_as_string(hide_password=False))
        project.revision("first", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
        project.revision("second", UP, DOWN)
        before = strange.dump()
        project.upgrade()
        assert strange.rows('table "T %(t)s"') == [(1, "%s:x1")]
        assert strange.dump() != before
        project.downgrade("base")
        assert strange.dump() == before
