"""`pgopt health` and `pgopt explain`: what they find, what they say, and that they change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from alembic.operations import Operations
from sqlalchemy.engine import make_url

from pgopt import PgoptError, op
from pgopt.cli import explain, health
from pgopt.monitoring import checks
from pgopt.monitoring.report import gather
from pgopt.operations import InstallMonitoring, InstallPgopt, InstallSnapshots, UninstallMonitoring
from pgopt.operations.kinds import KINDS
from pgopt.server.session import Session
from tests.integration.test_monitoring import WATCHER, busy, watched  # noqa: F401  -- a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from pgopt.monitoring.checks import Finding
    from tests.databases import Database


def pgopt(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process, with no project around it."""
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "pgopt.cli.main", *arguments],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def found(database: Database) -> dict[tuple[str, str], Finding]:
    """What is wrong with a database, by check and subject."""
    seen = health.run(make_url(database.server.url(database.name)))
    assert [note for note in seen.notes if "pg_stat_statements" not in note] == []
    return {(finding.check, finding.subject): finding for finding in seen.findings if finding.check != "cache_hit"}


FAULTS = """
    create schema "Büro";
    create table people (id int primary key) with (autovacuum_enabled = off);
    create table "Büro"."Akten" (id int primary key, person int constraint of references people, kind text)
        with (autovacuum_enabled = off);
    insert into people select generate_series(1, 20000);
    insert into "Büro"."Akten" select n, n, 'kind ' || n from generate_series(1, 20000) n;
    create index one on "Büro"."Akten" (kind, id desc) where id > 3; create index two on "Büro"."Akten" (kind, id desc) where id > 3;
    create table small (id int references people);
    alter table people add constraint later check (id > 0) not valid;
    create sequence numbers as smallint; select setval('numbers', 32000);
    analyze"""


def test_nothing_is_wrong_with_a_database_without_faults(database: Database, tmp_path: Path) -> None:
    database.run("create table t (id int primary key); insert into t values (1)")
    assert found(database) == {}
    url = database.server.url(database.name).replace("+psycopg", "")
    done = pgopt("health", "--url", url, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "nothing was found", "")


def test_each_fault_comes_with_what_mends_it(database: Database) -> None:
    database.run(FAULTS)
    seen = found(database)
    assert {key: finding.mend for key, finding in seen.items()} == {
        ("sequence_headroom", "numbers"): "raise the sequence's maxvalue",
        ("missing_fk_indexes", "of on Büro.Akten"): (
            'op.create_index_concurrently("ix_Akten_person", "Akten", ["person"], schema="Büro")'
        ),
        ("invalid_objects", "later on people"): (
            """op.execute('alter table "public"."people" validate constraint "later"')"""
        ),
        ("duplicate_indexes", "Büro.two"): (
            'op.drop_index_concurrently("two", "Akten", ["kind", "id DESC"], where="id > 3", schema="Büro")'
        ),
    }
    hurts = [finding.hurts for finding in seen.values()]
    assert hurts == sorted(hurts, reverse=True)


def test_what_mends_is_what_it_says(database: Database) -> None:
    database.run(FAULTS)
    with database.migration() as context:
        operations = Operations(context)
        for finding in found(database).values():
            if finding.mend.startswith("op."):
                with context.begin_transaction(_per_migration=True):
                    eval(finding.mend, {"op": operations})
    assert found(database).keys() == {("sequence_headroom", "numbers")}


def test_an_index_that_was_left_behind_is_mended_by_building_or_dropping_it(database: Database) -> None:
    database.run("create table t (id int); create index ix on t (id); create index ix_ccnew on t (id)")
    database.run("update pg_index set indisvalid = false where indexrelid in ('ix'::regclass, 'ix_ccnew'::regclass)")
    assert [finding.mend for finding in found(database).values()] == [
        'op.reindex_concurrently("ix")',
        'op.drop_index_concurrently("ix_ccnew", "t")',
    ]


def test_sessions_that_wait_are_told_with_whom_they_wait_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    database.run("create table t (id int)")
    with busy(database, "lock table t") as first, busy(database, "select from t", wait=False):
        time.sleep(1.1)
        seen = found(database)
        pid = first.info.backend_pid
        first.rollback()
    (finding,) = seen.values()
    assert finding.check == "blocking"
    assert f"pg_terminate_backend({pid})" in finding.mend
    assert "AccessShareLock on public.t" in finding.message


def test_a_check_that_cannot_be_made_hides_no_other(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.run(FAULTS)
    # a lock that the check would wait for
    monkeypatch.setitem(checks.SESSION, "lock_timeout", "50ms")
    with busy(database, 'lock table "Büro"."Akten"'):
        seen = health.run(make_url(database.server.url(database.name)))
    assert "lock timeout" in " ".join(seen.notes)
    assert "sequence_headroom" in {finding.check for finding in seen.findings}


@pytest.mark.parametrize("views", [True, False])
def test_a_role_that_may_only_watch_sees_what_the_views_show(watched: Database, views: bool) -> None:  # noqa: F811, FBT001
    watched.run(FAULTS)
    if not views:
        watched.perform(UninstallMonitoring())
    seen = health.run(make_url(watched.server.url(watched.name)).set(username=WATCHER))
    assert ("sequence_headroom" in {finding.check for finding in seen.findings}) is views
    assert "duplicate_indexes" in {finding.check for finding in seen.findings}
    assert [note for note in seen.notes if "pg_stat_statements" not in note] == []


def test_as_json_and_within_a_hundred_columns(database: Database, tmp_path: Path) -> None:
    database.run(FAULTS)
    url = database.server.url(database.name)
    done = pgopt("health", "--url", url, "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert {finding["check"] for finding in said["findings"]} >= {"duplicate_indexes", "sequence_headroom"}
    done = pgopt("health", "--url", url, cwd=tmp_path)
    assert done.returncode == 1
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_thresholds_are_those_that_are_said() -> None:
    index: dict[str, Any] = {
        "schema_name": "public",
        "table_name": "t",
        "index_name": "ix",
        "definition": "CREATE INDEX ix ON public.t USING gin (title gin_trgm_ops)",
        "bytes": 300 * checks.MB,
        "bloat_bytes": 200 * checks.MB,
        "unreliable": None,
        "stats_age": None,
    }
    unused, bloated = checks.unused_index(index), checks.index_bloat(index)
    assert unused is not None
    assert unused.mend == 'op.drop_index_concurrently("ix", "t", ["title gin_trgm_ops"], using="gin")'
    assert bloated is not None
    assert bloated.mend == 'op.reindex_concurrently("ix")'
    assert checks.unused_index({**index, "bytes": 9 * checks.MB}) is None
    assert checks.index_bloat({**index, "unreliable": "never analyzed"}) is None
    assert checks.index_bloat({**index, "bloat_bytes": 99 * checks.MB}) is None
    expression = {**index, "definition": "CREATE INDEX ix ON public.t USING btree (lower(title))"}
    assert (found := checks.unused_index(expression)) is not None
    assert found.mend == 'op.drop_index_concurrently("ix", "t")'


def test_every_operation_that_mends_is_there() -> None:
    named = {
        "create_index_concurrently",
        "drop_index_concurrently",
        "reindex_concurrently",
        "analyze",
        "set_storage_parameters",
    }
    assert named <= KINDS.keys()
    assert hasattr(op, "execute")


# -- explain -------------------------------------------------------------------------------------------------------------


def explained(database: Database, statement: str, **options: Any) -> str:
    url = make_url(database.server.url(database.name))
    return "\n".join(explain.text(explain.run(url, statement, **options)))


@pytest.fixture
def numbers(database: Database) -> Database:
    database.run(
        "create table t (id int primary key, n int); insert into t select n, n from generate_series(1, 20000) n"
    )
    database.run("vacuum analyze t")
    return database


def test_explain_says_what_was_read_in_vain(numbers: Database) -> None:
    said = explained(numbers, "select * from t where n = 7")
    assert "Seq Scan on t" in said
    assert "19,999 rows of t were read in vain: an index for (n = 7) would find them" in said
    assert "carried out in" in said
    assert all(len(line) <= 100 for line in said.splitlines())
    said = explained(numbers, "select * from t where id = 7 and n % 2 = 1 -- a comment")
    assert "Index Scan by t_pkey on t" in said
    assert "→" not in said


def test_explain_leaves_nothing_behind(numbers: Database) -> None:
    with pytest.raises(PgoptError, match="--write"):
        explained(numbers, "delete from t")
    assert "20,000 rows" in explained(numbers, "delete from t", write=True)
    with pytest.raises(PgoptError, match="multiple commands"):
        explained(numbers, "select 1; commit; delete from t", write=True)
    assert numbers.value("select count(*) from t") == 20000


def test_explain_gives_up(numbers: Database) -> None:
    with pytest.raises(PgoptError, match=r"cancelled after 0\.1 s"):
        explained(numbers, "select pg_sleep(5)", timeout=0.1)
    with pytest.raises(PgoptError, match="values in the places"):
        explained(numbers, "select * from t where id = $1")


def test_explain_as_a_command(numbers: Database, tmp_path: Path) -> None:
    done = pgopt(
        "explain", "select '100 %' from t where id = 3", "--url", numbers.server.url(numbers.name), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "by t_pkey on t" in done.stdout
    done = pgopt("explain", "select from nowhere", "--url", numbers.server.url(numbers.name), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        'pgopt: the statement cannot be explained: relation "nowhere" does not exist\n',
    )
    done = pgopt("explain", "select 1", cwd=tmp_path, DATABASE_URL=numbers.server.url(numbers.name))
    assert done.returncode == 0, done.stderr
    done = pgopt("explain", "select 1", cwd=tmp_path)
    assert "which database?" in done.stderr


def test_a_view_whose_refresh_fails_is_told(database: Database) -> None:
    database.run('create table t (n int); insert into t values (1); create schema "S x"')
    database.run('create materialized view "S x"."V 1" as select 1 / n as n from t; update t set n = 0')
    assert found(database) == {}
    database.perform(InstallPgopt(1))
    database.run("""select pgopt.refresh('"S x"."V 1"')""")
    (finding,) = found(database).values()
    assert finding.message == "has no rows that pgopt knows of; its last 1 refreshes have failed: division by zero"
    assert finding.mend == 'op.refresh_materialized_view("V 1", schema="S x")'
    database.run("update t set n = 2")
    with database.migration() as context, context.begin_transaction(_per_migration=True):
        eval(finding.mend, {"op": Operations(context)})
    assert found(database) == {}


def test_a_view_that_has_grown_old_is_told(database: Database) -> None:
    database.run('create table t (n int); create materialized view "V %s" as select n from t with no data')
    database.perform(InstallPgopt(1))
    (finding,) = found(database).values()
    assert (finding.check, finding.message) == ("stale_views", "was never filled: reading it is an error")
    with database.migration() as context, context.begin_transaction(_per_migration=True):
        eval(finding.mend, {"op": Operations(context)})
    assert found(database) == {}
    database.run("""insert into pgopt.refresh (view, outcome, started_at, finished_at)
        select view, 'refreshed', t, t from pgopt.materialized, generate_series(now(), now() + '5 hours', '1 hour') t;
        update pgopt.materialized set fresh_at = now() - interval '7 hours'""")
    (finding,) = found(database).values()
    assert "7 hours ago; it is usually refreshed every 60 minutes" in finding.message


def test_nothing_that_it_runs_takes_more_than_access_share(database: Database) -> None:
    database.run(FAULTS)
    database.perform(InstallPgopt(1), InstallMonitoring(), InstallSnapshots())
    database.run("select pgopt.take_snapshot()")
    database.run("select pgopt.take_snapshot()")
    with database.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        session = Session(connection)
        with checks.reading(session):
            assert gather(session).page()
            taken = session.rows(
                # the server takes ROW EXCLUSIVE on a sequence to read it
                "select l.mode, l.relation::regclass::text from pg_locks l left join pg_class c on c.oid = l.relation"
                " where l.pid = pg_backend_pid() and l.locktype <> 'virtualxid' and l.mode <> 'AccessShareLock'"
                " and c.relkind is distinct from 'S'"
            )
    assert taken == []
