"""`pgopt.env.run`: an application's whole env.py in one call."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from alembic.util import CommandError
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool

from pgopt import InvalidOperation, PgoptError, RunnerBusy, Settings, UnsafeTransaction
from pgopt.plan.settings import LONGEST
from tests.databases import names, wait_until
from tests.integration.alembic_project import PLAIN, PLAIN_DOWN, Project, index, no_index
from tests.integration.test_templates import TICKETS, mixed_chain, relations, version, warnings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Database

METADATA = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("tickets", metadata, sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
         sa.Column("title", sa.Text, nullable=False), sa.Column("status", sa.Text, nullable=False))
sa.Table("logs", metadata, sa.Column("at", sa.Date, nullable=False))
"""

PARTITIONS = """
create table logs (at date not null) partition by range (at);
create table "Logs 2025" partition of logs for values from ('2025-01-01') to ('2026-01-01');
create table logs_2026 partition of logs for values from ('2026-01-01') to ('2027-01-01') partition by range (at);
create table logs_2026_01 partition of logs_2026 for values from ('2026-01-01') to ('2026-02-01');
create index on logs_2026_01 (at);
"""

MAKO = """
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
def upgrade():
    ${upgrades}
"""


@pytest.fixture
def tickets(database: Database) -> Database:
    database.run(TICKETS)
    return database


@pytest.fixture
def project(tickets: Database, tmp_path: Path) -> Project:
    return Project.with_run(tmp_path, tickets.server.url(tickets.name))


@pytest.fixture(autouse=True)
def _no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


# -- the chain -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg", "psycopg_async"])
def test_a_chain_goes_up_and_down_without_a_warning(
    driver: str, tickets: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = Project.with_run(tmp_path, tickets.server.url(tickets.name, driver))
    mixed_chain(project)
    before = tickets.dump()
    project.upgrade()
    assert version(tickets) == "f"
    assert relations(tickets) == {"people", "ix_b", "places", "things", "ix_e", "ends"}
    project.downgrade("base")
    assert tickets.dump() == before
    assert warnings(caplog) == []


@pytest.mark.parametrize("broken", ["c", "e"])
def test_a_failure_stops_at_its_revision_and_the_mended_chain_goes_on(
    broken: str, project: Project, tickets: Database
) -> None:
    mixed_chain(project)
    path = project.root / "migrations" / "versions" / f"{broken}_.py"
    good = path.read_text()
    path.write_text(good.replace("def upgrade():\n", 'def upgrade():\n    op.execute("select 1/0")\n'))
    with pytest.raises(Exception, match="division by zero"):
        project.upgrade()
    assert version(tickets) == {"c": "b", "e": "d"}[broken]
    path.write_text(good)
    project.upgrade()
    assert version(tickets) == "f"
    assert relations(tickets) == {"people", "ix_b", "places", "things", "ix_e", "ends"}


@pytest.mark.parametrize(
    "plain",
    [
        PLAIN.format("people"),
        "op.execute('create function f() returns int return 1')",
        "op.execute('create schema other')",
        "op.execute(\"comment on table tickets is 'ours'\")",
        "op.execute(\"insert into tickets (title, status) values ('a', 'b')\")",
        "op.execute('grant select on tickets to public')",
    ],
)
def test_plain_work_before_an_online_operation_is_refused_even_in_the_first_revision(
    plain: str, project: Project, tickets: Database
) -> None:
    project.revision("a", f"{plain}\n{index('ix_a')}")
    before, rows = tickets.dump(), tickets.value("select count(*) from tickets")
    with pytest.raises(UnsafeTransaction, match="move the online operation to a revision of its own") as refusal:
        project.upgrade()
    assert "\n" not in str(refusal.value)
    assert tickets.dump() == before
    assert tickets.value("select count(*) from tickets") == rows
    project.environment["PGOPT_MIXED_REVISIONS"] = "1"
    project.upgrade()
    assert relations(tickets) >= {"ix_a"}


def test_reading_before_an_online_operation_is_allowed(project: Project, tickets: Database) -> None:
    project.revision(
        "a", f"assert op.get_bind().scalar(sa.text('select count(*) from tickets')) == 100\n{index('ix_a')}"
    )
    project.upgrade()
    assert relations(tickets) == {"ix_a"}


def test_a_setting_in_env_py_allows_mixed_revisions(tickets: Database, tmp_path: Path) -> None:
    project = Project.with_run(tmp_path, tickets.server.url(tickets.name), "settings=Settings(mixed_revisions=True)")
    project.revision("a", f"{PLAIN.format('people')}\n{index('ix_a')}")
    project.upgrade()
    assert relations(tickets) == {"people", "ix_a"}


def test_transaction_per_migration_cannot_be_turned_off(tickets: Database, tmp_path: Path) -> None:
    url = tickets.server.url(tickets.name)
    project = Project.with_run(tmp_path, url, "transaction_per_migration=False")
    mixed_chain(project)
    project.revision("g", "op.execute('select 1/0')")
    with pytest.raises(Exception, match="division by zero"):
        project.upgrade()
    assert version(tickets) == "f"


def test_branches_and_a_merge(project: Project, tickets: Database) -> None:
    project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.revision("b1", PLAIN.format("people"), PLAIN_DOWN.format("people"), after="a", labels="one")
    project.revision("b2", index("ix_b", column="title"), no_index("ix_b", column="title"), after="a", labels="two")
    project.revision("m", after=["b1", "b2"])
    project.revision("n", index("ix_n", "people", "id"), no_index("ix_n", "people", "id"))
    before = tickets.dump()
    project.upgrade("two@head")
    assert tickets.value("select count(*) from pgopt.run") == 0
    project.upgrade("heads")
    assert version(tickets) == "n"
    project.downgrade("one@a")
    project.downgrade("base")
    assert tickets.dump() == before


def test_the_version_table_may_be_in_another_schema(tickets: Database, tmp_path: Path) -> None:
    tickets.run('create schema "Kept"')
    options = 'version_table="Versions", version_table_schema="Kept"'
    project = Project.with_run(tmp_path, tickets.server.url(tickets.name), options)
    mixed_chain(project)
    project.upgrade()
    assert tickets.value('select version_num from "Kept"."Versions"') == "f"
    project.downgrade("base")
    assert tickets.value('select count(*) from "Kept"."Versions"') == 0
    project.revision("g", f"{PLAIN.format('more')}\n{index('ix_g')}", after="f")
    with pytest.raises(UnsafeTransaction, match="a revision of its own"):
        project.upgrade()
    assert tickets.value('select version_num from "Kept"."Versions"') == "f"


def test_others_see_who_runs(project: Project, tickets: Database) -> None:
    project.revision("a", "op.execute(\"create table seen as select current_setting('application_name') as name\")")
    project.upgrade()
    assert tickets.value("select name from seen") == "pgopt migration"


# -- the connection of the application -----------------------------------------------------------------------------------


def test_a_connection_of_the_application_is_used_and_given_back_as_it_was(project: Project, tickets: Database) -> None:
    mixed_chain(project)
    engine = create_engine(tickets.server.url(tickets.name), poolclass=QueuePool, pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        connection.exec_driver_sql("set application_name = 'the app'")
        connection.commit()
        project.upgrade(connection=connection)
        assert not connection.in_transaction()
        assert connection.scalar(text("show application_name")) == "the app"
        assert connection.connection.dbapi_connection is driver
        assert connection.scalar(text("select count(*) from pg_locks where locktype = 'advisory'")) == 0
        assert not driver.autocommit  # type: ignore[union-attr]
    assert version(tickets) == "f"
    engine.dispose()


def test_a_connection_in_autocommit_stays_so(project: Project, tickets: Database) -> None:
    mixed_chain(project)
    engine = create_engine(tickets.server.url(tickets.name), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        project.upgrade(connection=connection)
        assert connection.connection.dbapi_connection.autocommit  # type: ignore[union-attr]
    assert version(tickets) == "f"


def test_a_connection_in_a_transaction_is_refused(project: Project, tickets: Database) -> None:
    mixed_chain(project)
    with tickets.engine().connect() as connection:
        connection.execute(text("select 1"))
        with pytest.raises(UnsafeTransaction, match=r"after connection\.commit\(\)") as refusal:
            project.upgrade(connection=connection)
    assert "\n" not in str(refusal.value)
    assert relations(tickets) == set()


# -- one runner at a time ------------------------------------------------------------------------------------------------


@contextmanager
def held(database: Database) -> Iterator[Any]:
    """A transaction that CREATE INDEX CONCURRENTLY waits for."""
    with database.connect() as connection:
        connection.execute("begin")
        connection.execute("insert into tickets (title, status) values ('held', 'OPEN')")
        yield connection
        connection.execute("rollback")


def building(database: Database) -> list[int]:
    """The processes of the server that build an index concurrently, and wait for others in that."""
    return names(
        database.rows(
            "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and query ilike 'create index concurrently%'"
        )
    )


def waiting(database: Database) -> Any:
    """Whether a runner has asked for a lock that another one has, and asks again."""
    return database.value(
        "select count(*) from pg_stat_activity where datname = current_database() and query ~ 'pg_try_advisory_lock|l.objsubid = 1'"
        " and pid not in (select pid from pg_locks where locktype = 'advisory') and pid <> pg_backend_pid() and state <> 'active'"
    )


@pytest.mark.parametrize("kind", ["run", "template"])
def test_two_runners_at_once_do_the_work_once(kind: str, tickets: Database, tmp_path: Path) -> None:
    url = tickets.server.url(tickets.name)
    if kind == "run":
        project = Project.with_run(tmp_path, url)
    else:
        project = Project.from_template(tmp_path, url, configure="transaction_per_migration=True")
        project.revision("a")
        project.upgrade()
    project.revision("b", index("ix_b"))
    if kind == "run":
        project.revision("c", PLAIN.format("people"))
    with held(tickets):
        first = project.start("upgrade", "head")
        wait_until("the first runner builds", lambda: building(tickets))
        second = project.start("upgrade", "head")
        wait_until("the second runner waits", lambda: waiting(tickets))
        # it says so after its second try
        time.sleep(1)
        assert len(building(tickets)) == 1
    ends = [each.communicate(timeout=60) for each in (first, second)]
    assert first.returncode == 0, ends[0]
    assert "waiting for another pgopt run on" in ends[1][1]
    assert "alembic.config" not in ends[1][1]
    assert tickets.value("select indisvalid from pg_index where indexrelid = 'ix_b'::regclass") is True
    if kind == "run":
        assert second.returncode == 0, ends[1]
        assert "Running upgrade" not in ends[1][1]
        assert version(tickets) == "c"
    else:
        # Alembic itself decided what to run before it could know; it finds out when it stamps, where we came between the two of the first
        ours = "another run has carried out the upgrade of revision b meanwhile: run again"
        assert ours in ends[1][1] or "expected to match one row when updating 'a' to 'b'" in ends[1][1]
        assert "Traceback" not in ends[1][1]
        assert version(tickets) == "b"
        project.must("upgrade", "head")


@pytest.mark.parametrize("kind", ["run", "template"])
def test_a_warning_is_seen_where_nobody_has_set_logging_up(tickets: Database, tmp_path: Path, kind: str) -> None:
    url = tickets.server.url(tickets.name)
    if kind == "run":
        project = Project.with_run(tmp_path, url)
        text = project.ini.read_text()
        project.ini.write_text(text[: text.index("[loggers]")])
    else:
        project = Project.from_template(tmp_path, url)
        project.replace(project.env, "fileConfig(config.config_file_name)", "pass")
    tickets.run("create index ix_b on tickets (status); comment on index ix_b is 'keep me'")
    project.revision("b", "op.replace_index_concurrently('ix_b', 'tickets', ['title'])")
    assert "public.ix_b is dropped, and with it the comment 'keep me'" in project.must("upgrade", "head")


@pytest.mark.parametrize("interrupted", ["downgrade", "killed"])
def test_one_call_and_a_template_share_the_lock_of_a_table(
    interrupted: str, tickets: Database, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Project.from_template(
        tmp_path_factory.mktemp("other"), project.url, configure="transaction_per_migration=True"
    )
    for each in (project, other):
        each.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
        each.revision("b", index("ix_b"), no_index("ix_b"))
    project.upgrade("a")
    with held(tickets):
        first = project.start("upgrade", "head")
        wait_until("the first runner builds", lambda: building(tickets))
        second = other.start("upgrade", "head")
        wait_until("the second runner waits", lambda: waiting(tickets))
        if interrupted == "killed":
            first.kill()
    ends = [each.communicate(timeout=60) for each in (first, second)]
    if interrupted == "killed":
        assert second.returncode == 0, ends[1]
    else:
        assert "another run has carried out the upgrade of revision b meanwhile" in ends[1][1]
    assert version(tickets) == "b"
    assert tickets.rows("select indisvalid from pg_index where indexrelid = 'ix_b'::regclass") == [(True,)]
    assert tickets.value("select count(*) from pgopt.run") == 0
    with held(tickets):
        # a table that is in use is no reason for others to wait: the lock is let go of, whoever had it
        assert tickets.value("select count(*) from pg_locks where locktype = 'advisory'") == 0
    other.must("downgrade", "base")
    assert version(tickets) is None


def test_two_databases_of_a_server_do_not_wait_for_each_other(
    tickets: Database, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = f"{tickets.name} '%:other"
    tickets.run(f'create database "{name}"')
    other = replace(tickets, name=name)
    try:
        other.run(TICKETS)
        twin = Project.with_run(tmp_path_factory.mktemp("twin"), "postgresql://")
        twin.environment["DATABASE_URL"] = (
            make_url(project.url).set(database=name).render_as_string(hide_password=False)
        )
        for each in (project, twin):
            each.revision("a", index("ix_a"))
        with held(tickets):
            first = project.start("upgrade", "head")
            wait_until("the first runner builds", lambda: building(tickets))
            assert "waiting for another" not in twin.must("upgrade", "head")
            assert version(other) == "a"
        assert first.communicate(timeout=60)
        assert first.returncode == 0
    finally:
        tickets.run(f'drop database "{name}" with (force)')


def test_a_runner_that_waits_in_vain_names_the_one_at_work(project: Project, tickets: Database) -> None:
    project.revision("a", index("ix_a"))
    with held(tickets):
        first = project.start("upgrade", "head")
        (pid,) = wait_until("the first runner builds", lambda: building(tickets))
        project.environment["PGOPT_RUNNER_TIMEOUT"] = "0"
        for command in ("upgrade", "stamp"):
            with pytest.raises(RunnerBusy, match=f"another pgopt run is at work on .*pid {pid} .*pgopt migration"):
                project.run(command, "head")
        with tickets.engine().connect() as connection:
            connection.exec_driver_sql("set application_name = 'the app'")
            connection.commit()
            with pytest.raises(RunnerBusy):
                project.upgrade(connection=connection)
            assert connection.scalar(text("show application_name")) == "the app"
        # who only reads waits for nobody
        project.run("current")
        assert "Target database is not up to date" in project.refused("check")
    assert first.wait(60) == 0
    first.communicate()
    project.upgrade()
    assert version(tickets) == "a"


def test_the_lock_goes_with_a_failure(project: Project, tickets: Database) -> None:
    project.revision("a", "op.execute('select 1/0')")
    with tickets.engine().connect() as connection:
        for _ in range(2):
            with pytest.raises(Exception, match="division by zero"):
                project.upgrade(connection=connection)
            assert tickets.value("select count(*) from pg_locks where locktype = 'advisory'") == 0


def test_a_lost_connection_is_told_as_such(project: Project, tickets: Database) -> None:
    project.revision("a", index("ix_a"))
    said: list[BaseException] = []

    def upgrade() -> None:
        try:
            project.upgrade()
        except BaseException as error:  # noqa: BLE001
            said.append(error)

    with held(tickets):
        thread = threading.Thread(target=upgrade)
        thread.start()
        (pid,) = wait_until("the runner builds", lambda: building(tickets))
        tickets.run(f"select pg_terminate_backend({pid})")
        thread.join(60)
    assert len(said) == 1
    assert isinstance(said[0], PgoptError)
    assert "terminating connection" in str(said[0]), said[0]
    project.upgrade()
    assert version(tickets) == "a"


# -- autogenerate --------------------------------------------------------------------------------------------------------


def compared(tickets: Database, root: Path, arguments: str = "", driver: str = "psycopg") -> Project:
    """A project whose models are those of METADATA."""
    more = f", {arguments}" if arguments else ""
    url = tickets.server.url(tickets.name, driver)
    project = Project.with_run(root, url, f"target_metadata=metadata{more}", METADATA)
    project.replace(project.ini, "[alembic]", "[alembic]\nfile_template = %%(rev)s_")
    (root / "migrations" / "script.py.mako").write_text(MAKO)
    project.revision("a", "op.install_pgopt(version=1)")
    project.upgrade()
    return project


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg", "psycopg2"])
def test_check_stays_clean_with_partitions_and_the_pgopt_schema(driver: str, tickets: Database, tmp_path: Path) -> None:
    tickets.run(PARTITIONS)
    project = compared(tickets, tmp_path, driver=driver)
    assert "No new upgrade operations" in project.run("check")
    project.run("revision", message="nothing", autogenerate=True, rev_id="gen")
    assert "op." not in (project.root / "migrations/versions/gen_.py").read_text()


def test_check_stays_clean_in_all_schemas(tickets: Database, tmp_path: Path) -> None:
    tickets.run(PARTITIONS)
    tickets.run('create schema "Other One"; set search_path = "Other One";' + PARTITIONS)
    project = compared(tickets, tmp_path, "include_schemas=True")
    with pytest.raises(CommandError) as drift:
        project.run("check")
    # the parent is in no model: that is a difference, and nothing else is
    assert str(drift.value).count("remove_") == 1, drift.value
    assert "Other One" in str(drift.value)
    more = '\nsa.Table("logs", metadata, sa.Column("at", sa.Date, nullable=False), schema="Other One")\n'
    project.replace(project.env, METADATA, METADATA + more)
    project.run("check")


def test_the_way_back_of_a_partitioned_table_is_hidden(tickets: Database, tmp_path: Path) -> None:
    long = "l" * 63
    tickets.run(f"{PARTITIONS}; create table {long} (id int, at date not null, primary key (id, at))")
    project = compared(tickets, tmp_path)
    more = f'\nsa.Table("{long}", metadata, *(sa.Column(name, kind, primary_key=True) for name, kind in (("id", sa.Integer), ("at", sa.Date))))'
    project.replace(project.env, METADATA, METADATA + more)
    project.revision("b", f'op.partition_table("{long}", by=pgopt.Monthly("at"))\n'.join(["import pgopt\n", ""]))
    project.upgrade()
    beside = "select count(*) from pg_class where relname like 'lll%' and relkind = 'r' and not relispartition"
    assert tickets.value(beside) == 1, "the old table is kept up"
    project.run("check")


def test_a_table_beside_a_partition_of_the_same_name_is_not_hidden(tickets: Database, tmp_path: Path) -> None:
    tickets.run(PARTITIONS)
    tickets.run("create schema other; create table other.logs_2026 (at date)")
    project = compared(tickets, tmp_path, "include_schemas=True")
    with pytest.raises(CommandError, match=r"remove_table.*logs_2026.*other"):
        project.run("check")


def test_partitions_are_hidden_where_the_search_path_names_the_schema(tickets: Database, tmp_path: Path) -> None:
    tickets.run("create schema app; alter table tickets set schema app; set search_path = app;" + PARTITIONS)
    tickets.run(f"alter database {tickets.name} set search_path = app, public")
    project = compared(tickets, tmp_path)
    assert "No new upgrade operations" in project.run("check")


def test_the_application_s_own_include_name_still_counts(tickets: Database, tmp_path: Path) -> None:
    tickets.run(PARTITIONS)
    tickets.run("create table legacy (id int); create table surplus (id int)")
    own = 'include_name=lambda name, kind, parents: name != "legacy"'
    project = compared(tickets, tmp_path, own)
    with pytest.raises(CommandError) as drift:
        project.run("check")
    assert "surplus" in str(drift.value)
    assert "legacy" not in str(drift.value)
    assert "logs_2026" not in str(drift.value)


def test_a_template_s_env_py_can_hide_them_too(tickets: Database, tmp_path: Path) -> None:
    tickets.run(PARTITIONS)
    project = Project.from_template(tmp_path, tickets.server.url(tickets.name))
    project.replace(project.env, "target_metadata = None", f"import pgopt.env\n{METADATA}\ntarget_metadata = metadata")
    project.upgrade()
    with pytest.raises(CommandError, match="logs_2026"):
        project.run("check")
    project.configure("include_name=pgopt.env.hidden_from_autogenerate(connection)")
    assert "No new upgrade operations" in project.run("check")


# -- scripts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "the database's", "asyncpg's"])
def test_a_script_is_written_with_and_without_a_url(url: str, tickets: Database, tmp_path: Path) -> None:
    urls = {
        "": "",
        "the database's": tickets.server.url(tickets.name),
        "asyncpg's": "postgresql+asyncpg://u:p@nowhere/x",
    }
    project = Project.with_run(tmp_path, urls[url])
    mixed_chain(project)
    project.revision("g", "op.execute(\"create function f() returns text return format('%I %%', 'a')\")")
    tickets.psql(project.upgrade(sql=True))
    assert version(tickets) == "g"
    assert tickets.value("select f()") == "a %"
    assert relations(tickets) == {"people", "ix_b", "places", "things", "ix_e", "ends"}


# -- the URL -------------------------------------------------------------------------------------------------------------


def test_the_url_is_taken_from_where_it_is_said_first(tickets: Database, tmp_path: Path, monkeypatch: Any) -> None:
    right, wrong = tickets.server.url(tickets.name), "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"
    project = Project.with_run(tmp_path, right)
    project.revision("a", PLAIN.format("people"))
    project.upgrade()  # alembic.ini
    monkeypatch.setenv("DATABASE_URL", wrong)
    with pytest.raises(PgoptError, match=r"could not connect to .*127\.0\.0\.1"):
        project.upgrade()
    # the call says it before the environment does, and -x before all
    project.replace(project.env, "run(context", f"run(context, url={right!r}")
    project.upgrade()
    with pytest.raises(PgoptError, match=r"could not connect to .*127\.0\.0\.1"):
        project.upgrade(x=[f"url={wrong}"])
    with tickets.engine().connect() as connection:
        project.upgrade(x=[f"url={wrong}"], connection=connection)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_url_without_a_driver_is_psycopg_s(scheme: str, tickets: Database, tmp_path: Path, monkeypatch: Any) -> None:
    project = Project.with_run(tmp_path, "")
    project.revision("a", "assert op.get_bind().dialect.driver == 'psycopg'\n" + index("ix_a"))
    url = tickets.server.url(tickets.name).replace("postgresql+psycopg:", f"{scheme}:")
    monkeypatch.setenv("DATABASE_URL", url)
    project.upgrade()
    assert version(tickets) == "a"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("not a url with secret", "URL in DATABASE_URL cannot be read"),
        ("driver://user:secret@localhost/dbname", "URL in DATABASE_URL cannot be read"),
        ("postgresql://user:secret@localhost:port/dbname", "URL in DATABASE_URL cannot be read"),
        ("sqlite:///secret.db", "works on PostgreSQL, and the database's URL in DATABASE_URL is for sqlite"),
        ("postgresql+pg8000://user:secret@localhost/x", "could not connect to postgresql.*No module named 'pg8000'"),
        ("postgresql://user:secret@127.0.0.1:1/x", "could not connect to .*127.0.0.1"),
        ("postgresql+asyncpg://user:secret@127.0.0.1:1/x", "could not connect to .*127.0.0.1"),
        ("postgresql+psycopg2://user:secret@127.0.0.1:1/x", "could not connect to .*127.0.0.1"),
    ],
)
def test_a_url_that_does_not_work_is_one_sentence_without_the_password(
    url: str, sentence: str, project: Project, monkeypatch: Any
) -> None:
    project.revision("a", index("ix_a"))
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(PgoptError, match=sentence) as refusal:
        project.upgrade()
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_database_that_is_not_there_is_one_sentence(driver: str, tickets: Database, tmp_path: Path) -> None:
    project = Project.with_run(tmp_path, tickets.server.url("no_such_database", driver))
    assert 'database "no_such_database" does not exist' in project.refused("upgrade", "head")


def test_no_url_at_all_is_one_sentence(tmp_path: Path) -> None:
    assert "set DATABASE_URL" in Project.with_run(tmp_path, "").refused("upgrade", "head")


def test_an_event_loop_that_runs_already_is_one_sentence(tickets: Database, tmp_path: Path) -> None:
    import asyncio

    project = Project.with_run(tmp_path, tickets.server.url(tickets.name, "asyncpg"))

    async def application() -> None:
        project.upgrade()

    with pytest.raises(PgoptError, match=r"asyncio\.to_thread"):
        asyncio.run(application())

    async def better() -> None:
        await asyncio.to_thread(project.upgrade)

    project.revision("a", index("ix_a"))
    asyncio.run(better())
    assert version(tickets) == "a"


# -- settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "variable", "env", "expected"),
    [(3, 4, 5, 3), (None, 4, 5, 4), (None, None, 5, 5), (None, None, None, Settings().lock_attempts)],
)
def test_the_first_who_says_a_setting_counts(
    call: int | None, variable: int | None, env: int | None, expected: int, tickets: Database, tmp_path: Path
) -> None:
    arguments = f"settings=Settings(lock_attempts={env}, lock_wait=0.01)" if env else ""
    project = Project.with_run(tmp_path, tickets.server.url(tickets.name), arguments)
    project.environment = {"PGOPT_LOCK_TIMEOUT": "0.01", "PGOPT_LOCK_WAIT": "0.01"}
    project.environment["PGOPT_LOCK_ATTEMPTS"] = str(variable or "")
    settings = f", settings={{'lock_attempts': {call}}}" if call else ""
    tickets.run("create index ix_old on tickets (status)")
    project.revision("a", f"op.rename_index('ix_old', 'ix_new'{settings})")
    with tickets.connect() as connection:
        connection.execute("begin; alter index ix_old set (fillfactor = 90)")
        with pytest.raises(PgoptError, match=f"others kept it from .* in {expected} attempts"):
            project.upgrade()
        connection.execute("rollback")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PGOPT_LOCK_ATTEMPTS": "many"}, "PGOPT_LOCK_ATTEMPTS='many' is not a whole number"),
        ({"PGOPT_LOCK_ATTEMPTS": "0"}, "lock_attempts=0 is not"),
        ({"PGOPT_LOCK_TIMEOUT": "-1"}, "lock_timeout=-1.0 is not"),
        ({"PGOPT_LOCK_TIMEOUT": "nan"}, "lock_timeout=nan is not"),
        ({"PGOPT_CONCURRENT_TIMEOUT": "2592000"}, "concurrent_timeout=2592000.0 is longer than the server can wait"),
        ({"PGOPT_MIXED_REVISIONS": "perhaps"}, "PGOPT_MIXED_REVISIONS='perhaps' is not a yes or no"),
    ],
)
def test_a_wrong_variable_is_one_sentence(environment: dict[str, str], sentence: str, project: Project) -> None:
    project.environment = environment
    project.revision("a", index("ix_a"))
    with pytest.raises(InvalidOperation, match=sentence) as refusal:
        project.upgrade()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("{'lock_attempst': 3}", "there is no setting 'lock_attempst'"),
        ("{'lock_attempts': 'three'}", "lock_attempts='three' is not a whole number"),
        ("{'lock_attempts': 0}", "lock_attempts=0 is not"),
        ("{'lock_attempts': 2.5}", "lock_attempts=2.5 is not"),
        ("{'concurrent_timeout': 30 * 86400}", "concurrent_timeout=2592000 is longer than .* at most 2147483 "),
        ("{'lock_timeout': 2147484}", "lock_timeout=2147484 is longer than"),
        ("{'mixed_revisions': 1}", "mixed_revisions=1 is not a yes or no"),
    ],
)
@pytest.mark.parametrize("where", ["call", "env"])
def test_a_wrong_setting_is_one_sentence(
    where: str, settings: str, sentence: str, tickets: Database, tmp_path: Path
) -> None:
    at_env, at_call = (f"settings={settings}", "") if where == "env" else ("", f", settings={settings}")
    project = Project.with_run(tmp_path, tickets.server.url(tickets.name), at_env)
    project.revision("a", f"op.create_index_concurrently('ix_a', 'tickets', ['status']{at_call})")
    with pytest.raises(InvalidOperation, match=sentence) as refusal:
        project.upgrade()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("'ix_a', 'tickets'", "missing a required argument: 'columns'"),
        ("'ix_a', 'tickets', ['status'], wher='id > 0'", "got an unexpected keyword argument 'wher'"),
        ("'ix_a', 'tickets', ['status'], True", "too many positional arguments"),
    ],
)
def test_wrong_arguments_are_one_sentence_that_says_what_the_directive_takes(
    arguments: str, sentence: str, project: Project
) -> None:
    project.revision("a", f"op.create_index_concurrently({arguments})")
    takes = r"say op\.create_index_concurrently\(name, table, columns, \*, settings=None, .*where=None.*\)$"
    with pytest.raises(InvalidOperation, match=f"^create_index_concurrently: {sentence}: {takes}"):
        project.upgrade()


def test_the_longest_timeouts_are_taken_by_the_server(tickets: Database, tmp_path: Path) -> None:
    project = Project.with_run(tmp_path, tickets.server.url(tickets.name))
    longest = {"lock_timeout": LONGEST, "concurrent_timeout": LONGEST, "wal_rate": 10 * LONGEST}
    project.revision("a", f"op.create_index_concurrently('ix_a', 'tickets', ['status'], settings={longest})")
    project.upgrade()


def test_logging_is_set_up_as_alembic_ini_says(project: Project) -> None:
    project.revision("a", index("ix_a"))
    said = project.must("upgrade", "head")
    assert "INFO [alembic.runtime.migration] Running upgrade  -> a" in said
    assert "INFO [alembic.pgopt] create_index_concurrently ix_a on tickets" in said
    assert logging.getLogger("alembic").level == logging.NOTSET
    assert "PGOPT_LOCK_ATTEMPTS" not in os.environ
