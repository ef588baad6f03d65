"""What a backfill does beside the promises: several of a revision, and going slower for the sake of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.operations import Backfill, InstallPgopt
from pgopt.plan.events import Throttled
from tests.integration.alembic_project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Database

TABLE = "create table t (id int primary key, n int not null default 0, note text)"


def test_two_backfills_of_one_column_in_a_revision_are_both_done(database: Database, tmp_path: Path) -> None:
    database.run(f"{TABLE}; insert into t select generate_series(1, 20)")
    project = Project.with_run(tmp_path, database.server.url(database.name))
    project.revision("first", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.revision(
        "second",
        'op.backfill("t", set={"n": "1"}, where="id <= 10")\nop.backfill("t", set={"n": "2"}, where="id > 10")',
    )
    project.upgrade()
    assert database.rows("select n, count(*) from t group by n order by n") == [(1, 10), (2, 10)]


def test_batches_wait_when_the_server_writes_too_much_wal(database: Database) -> None:
    database.run(f"{TABLE}; insert into t select generate_series(1, 3000)")
    database.perform(InstallPgopt(1))
    # a pause between batches, so that a second goes by, in which more than a byte is written
    settings = {"wal_rate": 50_000.0, "batch_rows": 500, "batch_most": 500, "batch_pause": 0.25}
    events = database.perform(Backfill("t", {"note": "repeat('x', 100)"}), settings=settings)
    told = [event for event in events if isinstance(event, Throttled)]
    assert told
    assert all("WAL" in event.reason and event.wait > 0 for event in told)
    assert database.value("select count(*) from t where note is null") == 0
