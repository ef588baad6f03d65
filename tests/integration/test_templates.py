"""Operations in an env.py that Alembic's own templates wrote, and in others as people have them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from pgopt import PgoptError, UnsafeTransaction
from tests.databases import wait_until
from tests.integration.alembic_project import PLAIN, PLAIN_DOWN, Project, index, no_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Database

TICKETS = """
create table tickets (id bigint generated always as identity primary key, title text not null, status text not null);
insert into tickets (title, status) select 'ticket ' || g, 'OPEN' from generate_series(1, 100) g;
"""

PER_MIGRATION = "transaction_per_migration=True"
EXTERNAL = "connection.exec_driver_sql('set statement_timeout = 0')"
BEGIN = ("with connectable.connect() as connection", "with connectable.begin() as connection")

WARNINGS = {
    "per migration": None,
    "one transaction": "transaction_per_migration=True",
    "external": "connection.commit()",
    "engine.begin": "connection.commit()",
    "autocommit": "isolation_level",
    "asyncpg": "transaction_per_migration=True",
    "asyncpg per migration": None,
    "psycopg2": "transaction_per_migration=True",
    "psycopg2 per migration": None,
    "pool of one": "transaction_per_migration=True",
}
"""The environments, and what their warning must name."""


@pytest.fixture
def tickets(database: Database) -> Database:
    database.run(TICKETS)
    return database


@pytest.fixture(params=WARNINGS, ids=str)
def environment(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


in_a_transaction = pytest.mark.parametrize(
    "environment", [name for name in WARNINGS if name != "autocommit"], indirect=True, ids=str
)


def project_of(environment: str, root: Path, database: Database) -> Project:
    """A project with such an env.py."""
    driver = environment.split(" ", maxsplit=1)[0] if environment.startswith(("asyncpg", "psycopg2")) else "psycopg"
    url = database.server.url(database.name, driver)
    project = Project.from_template(root, url, "async" if driver == "asyncpg" else "generic")
    if environment.endswith("per migration"):
        project.configure(PER_MIGRATION)
    if environment == "external":
        call = "context.configure(\n            connection=connection"
        project.replace(project.env, call, f"{EXTERNAL}\n        {call}")
    if environment == "engine.begin":
        project.replace(project.env, *BEGIN)
    if environment == "autocommit":
        project.replace(project.env, "poolclass=", "isolation_level='AUTOCOMMIT', poolclass=")
    if environment == "pool of one":
        one = "poolclass=pool.QueuePool, pool_size=1, max_overflow=0"
        project.replace(
            project.env,
            "poolclass=pool.NullPool,\n    )",
            f"{one}\n    )\n    config.attributes['engine'] = connectable",
        )
    return project


def mixed_chain(project: Project) -> None:
    """Plain revisions and online ones in turn."""
    project.revision("a", PLAIN.format("people"), PLAIN_DOWN.format("people"))
    project.revision("b", index("ix_b"), no_index("ix_b"))
    project.revision("c", PLAIN.format("places"), PLAIN_DOWN.format("places"))
    project.revision("d", PLAIN.format("things"), PLAIN_DOWN.format("things"))
    project.revision("e", index("ix_e", column="title"), no_index("ix_e", column="title"))
    project.revision("f", PLAIN.format("ends"), PLAIN_DOWN.format("ends"))


def version(database: Database) -> Any:
    return database.value("select version_num from alembic_version")


def relations(database: Database) -> set[str]:
    """The tables and indexes that a chain made."""
    rows = database.rows(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'i')"
        " and relname !~ '_pkey$|_pkc$|^tickets|^alembic' order by 1"
    )
    return {name for (name,) in rows}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "alembic.pgopt" and record.levelno >= logging.WARNING
    ]


def test_a_chain_of_plain_and_online_revisions_goes_up_and_down(
    environment: str, tickets: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = project_of(environment, tmp_path, tickets)
    mixed_chain(project)
    before = tickets.dump()
    with caplog.at_level(logging.INFO, "alembic"):
        project.upgrade()
    assert version(tickets) == "f"
    assert relations(tickets) == {"people", "ix_b", "places", "things", "ix_e", "ends"}
    names = WARNINGS[environment]
    found = warnings(caplog)
    assert len(found) == (names is not None), found
    assert names is None or (names in found[0] and "\n" not in found[0])
    project.downgrade("base")
    assert version(tickets) is None
    assert tickets.dump() == before


@pytest.mark.parametrize("broken", ["c", "e"])
def test_a_failure_loses_nothing_and_the_mended_chain_goes_on(
    environment: str, broken: str, tickets: Database, tmp_path: Path
) -> None:
    project = project_of(environment, tmp_path, tickets)
    mixed_chain(project)
    path = project.root / "migrations" / "versions" / f"{broken}_.py"
    text = path.read_text()
    failing = text.replace("def upgrade():\n", 'def upgrade():\n    op.execute("select 1/0")\n')
    path.write_text(failing)
    with pytest.raises(Exception, match="division by zero"):
        project.upgrade()
    stamped = version(tickets)
    # what is stamped is there, and what is there is stamped: all but a plain revision that shared the failed transaction
    made = {"b": {"people", "ix_b"}, "d": {"people", "ix_b", "places", "things"}}
    assert stamped in made, "the version is behind what is done"
    assert relations(tickets) == made[stamped]
    path.write_text(text)
    project.upgrade()
    assert version(tickets) == "f"
    assert relations(tickets) == {"people", "ix_b", "places", "things", "ix_e", "ends"}


@pytest.mark.parametrize(
    ("first", "plain"),
    [
        (True, "op.execute('create function f() returns int return 1')"),
        (True, PLAIN.format("people")),
        (False, PLAIN.format("people")),
    ],
    ids=["a function, first revision ever", "a table, first revision ever", "a table, later"],
)
def test_plain_work_before_an_online_operation_is_refused(
    environment: str, *, first: bool, plain: str, tickets: Database, tmp_path: Path
) -> None:
    project = project_of(environment, tmp_path, tickets)
    if not first:
        project.revision("a", PLAIN.format("places"))
    project.revision("b", f"{plain}\n{index('ix_b')}")
    before = tickets.dump()
    if environment == "autocommit":
        project.upgrade()  # each statement is committed as it is sent, which is what its warning says
        assert version(tickets) == "b"
        return
    with pytest.raises(UnsafeTransaction, match="a revision of its own") as refusal:
        project.upgrade()
    assert "\n" not in str(refusal.value)
    assert "ix_b" not in relations(tickets)
    assert first is False or tickets.dump() == before
    assert "ix_b" in str(refusal.value)
    project.environment["PGOPT_MIXED_REVISIONS"] = "1"
    project.upgrade()
    assert version(tickets) == "b"
    assert "ix_b" in relations(tickets)


def test_plain_revisions_before_an_online_one_are_not_refused(
    environment: str, tickets: Database, tmp_path: Path
) -> None:
    project = project_of(environment, tmp_path, tickets)
    project.revision("a", PLAIN.format("people"))
    project.upgrade()
    project.revision("b", "op.execute('create function f() returns int return 1')", "op.execute('drop function f')")
    project.revision("c", "op.execute(\"insert into tickets (title, status) values ('new', 'OPEN')\")")
    project.revision("d", index("ix_d"), no_index("ix_d"))
    project.upgrade()
    assert version(tickets) == "d"
    project.downgrade("a")
    assert version(tickets) == "a"


def test_two_online_operations_and_plain_work_after_them_are_not_refused(
    environment: str, tickets: Database, tmp_path: Path
) -> None:
    project = project_of(environment, tmp_path, tickets)
    project.revision("a", f"{index('ix_a')}\n{index('ix_b', column='title')}\n{PLAIN.format('people')}")
    project.upgrade()
    assert relations(tickets) == {"ix_a", "ix_b", "people"}
    assert version(tickets) == "a"


@in_a_transaction
def test_plain_work_in_the_second_revision_of_a_run_is_refused(
    environment: str, tickets: Database, tmp_path: Path
) -> None:
    project = project_of(environment, tmp_path, tickets)
    project.revision("a", index("ix_a"), no_index("ix_a"))
    project.revision(
        "b", f"op.execute(\"insert into tickets (title, status) values ('new', 'OPEN')\")\n{index('ix_b')}"
    )
    rows = tickets.contents()
    with pytest.raises(UnsafeTransaction, match="a revision of its own"):
        project.upgrade()
    assert relations(tickets) == {"ix_a"}
    assert version(tickets) == "a"
    assert tickets.contents()["public.tickets"] == rows["public.tickets"]


@in_a_transaction
def test_plain_work_between_two_online_operations_is_refused(
    environment: str, tickets: Database, tmp_path: Path
) -> None:
    project = project_of(environment, tmp_path, tickets)
    project.revision("a", f"{index('ix_a')}\n{PLAIN.format('people')}\n{index('ix_b', column='title')}")
    with pytest.raises(UnsafeTransaction, match="a revision of its own"):
        project.upgrade()
    assert relations(tickets) == {"ix_a"}
    assert version(tickets) is None


@in_a_transaction
def test_a_savepoint_is_refused(environment: str, tickets: Database, tmp_path: Path) -> None:
    project = project_of(environment, tmp_path, tickets)
    project.revision("a", f"with op.get_bind().begin_nested():\n    {index('ix_a')}")
    with pytest.raises(UnsafeTransaction, match="outside of it") as refusal:
        project.upgrade()
    assert "\n" not in str(refusal.value)
    assert relations(tickets) == set()


@in_a_transaction
def test_a_mixed_revision_of_a_downgrade_is_refused(environment: str, tickets: Database, tmp_path: Path) -> None:
    project = project_of(environment, tmp_path, tickets)
    project.revision("a", PLAIN.format("people"), PLAIN_DOWN.format("people"))
    project.revision("b", index("ix_b"), f"op.execute('create function f() returns int return 1')\n{no_index('ix_b')}")
    project.revision("c", PLAIN.format("places"), PLAIN_DOWN.format("places"))
    project.upgrade()
    with pytest.raises(UnsafeTransaction, match="a revision of its own"):
        project.downgrade("a")
    assert "ix_b" in relations(tickets)


@pytest.mark.parametrize("template", ["generic", "async", "pyproject", "pyproject_async"])
def test_the_command_line_with_each_template(template: str, tickets: Database, tmp_path: Path) -> None:
    driver = "asyncpg" if "async" in template else "psycopg"
    project = Project.from_template(tmp_path, tickets.server.url(tickets.name, driver), template)
    project.configure(PER_MIGRATION)
    mixed_chain(project)
    said = project.must("upgrade", "head")
    assert "create_index_concurrently ix_b on tickets" in said
    assert version(tickets) == "f"
    project.must("downgrade", "base")
    assert relations(tickets) == set()
    project.revision("g", "raise SystemExit(3)", after="f")
    # as a script it makes the version table, too
    tickets.run("drop table alembic_version")
    script = project.call("upgrade", "f", "--sql").stdout
    tickets.psql(script)
    assert version(tickets) == "f"


def test_branches_and_a_merge(environment: str, tickets: Database, tmp_path: Path) -> None:
    project = project_of(environment, tmp_path, tickets)
    project.revision("a", index("ix_a"), no_index("ix_a"))
    project.revision("b1", PLAIN.format("people"), PLAIN_DOWN.format("people"), after="a", labels="one")
    project.revision("b2", index("ix_b", column="title"), no_index("ix_b", column="title"), after="a", labels="two")
    project.revision("m", after=["b1", "b2"])
    project.revision("n", index("ix_n", "people", "id"), no_index("ix_n", "people", "id"))
    before = tickets.dump()
    project.upgrade("one@head" if environment == "external" else "heads")
    assert version(tickets) == "n"
    assert relations(tickets) == {"ix_a", "people", "ix_b", "ix_n"}
    project.downgrade("base")
    assert tickets.dump() == before
    assert version(tickets) is None


def test_the_wrong_database_is_one_sentence(tmp_path: Path) -> None:
    project = Project.from_template(tmp_path, f"sqlite:///{tmp_path}/file.db")
    project.revision("a", index("ix_a"))
    with pytest.raises(PgoptError, match="pgopt works on PostgreSQL, and this is sqlite"):
        project.upgrade()


@pytest.mark.parametrize("per_migration", [True, False], ids=["per migration", "one transaction"])
def test_an_operation_in_a_block_of_autocommit_is_not_the_engine_s(
    tickets: Database, tmp_path: Path, *, per_migration: bool
) -> None:
    project = Project.from_template(tmp_path, tickets.server.url(tickets.name))
    if per_migration:
        project.configure(PER_MIGRATION)
    project.revision("a", f"with op.get_context().autocommit_block():\n    {index('ix_a')}")
    found = project.call("upgrade", "head")
    assert found.returncode == 0
    assert relations(tickets) == {"ix_a"}
    assert "create_engine()" not in found.stderr
    assert ("transaction_per_migration" in found.stderr) != per_migration


def test_a_template_s_env_py_allows_mixed_revisions_by_a_setting(tickets: Database, tmp_path: Path) -> None:
    project = project_of("per migration", tmp_path, tickets)
    project.replace(project.env, PER_MIGRATION, f"{PER_MIGRATION}, pgopt_settings={{'mixed_revisions': True}}")
    project.revision("a", f"{PLAIN.format('people')}\n{index('ix_a')}")
    project.upgrade()
    assert relations(tickets) == {"people", "ix_a"}


WAITING = """
import os, pathlib, time
if place := os.environ.get("PLACE"):
    pathlib.Path(place, "begun").touch()
    while not pathlib.Path(place, "go on").exists():
        time.sleep(0.05)
"""


def check_that_the_second_does_nothing(project: Project, tickets: Database, place: Path) -> None:
    """A run that has begun goes on when another has done it all."""
    slow = project.start("upgrade", "head", PLACE=str(place))
    wait_until("it has begun", (place / "begun").exists)
    project.upgrade()
    (place / "go on").touch()
    said = slow.communicate(timeout=60)[1]
    assert "another run has carried out the upgrade of revision b meanwhile" in said
    assert tickets.value("select count(*) from tickets where title like '%!' and title not like '%!!'") == 100


WORKER = "a worker"


@pytest.fixture
def worker(tickets: Database) -> Iterator[str]:
    """A role that may do what a backfill does, and may not read the version table."""
    tickets.run(f'create role "{WORKER}"; grant select, update on tickets to "{WORKER}"')
    yield WORKER
    tickets.run(f'drop owned by "{WORKER}" cascade; drop role "{WORKER}"')


def test_who_works_as_another_role_does_nothing_again_either(tickets: Database, tmp_path: Path, worker: str) -> None:
    project = project_of("per migration", tmp_path, tickets)
    project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.upgrade()
    tickets.run(
        f'grant usage, create on schema pgopt to "{worker}"; grant all on all tables in schema pgopt to "{worker}";'
        f' grant all on all routines in schema pgopt to "{worker}"'
    )
    fill = "op.backfill('tickets', set={'title': \"title || '!'\"})"
    project.revision("b", f"{WAITING}op.execute('set role \"{worker}\"')\n{fill}\nop.execute('reset role')")
    check_that_the_second_does_nothing(project, tickets, tmp_path)


@pytest.mark.parametrize("environment", ["per migration", "one transaction", "asyncpg"], indirect=True, ids=str)
def test_who_comes_when_another_run_is_over_does_nothing_again(
    environment: str, tickets: Database, tmp_path: Path
) -> None:
    project = project_of(environment, tmp_path, tickets)
    project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.upgrade()
    project.revision("b", WAITING + "op.backfill('tickets', set={'title': \"title || '!'\"})")
    check_that_the_second_does_nothing(project, tickets, tmp_path)
    assert tickets.value("select count(*) from pgopt.run") == 0


def test_a_backslash_in_a_script_stays_one(tickets: Database, tmp_path: Path) -> None:
    project = Project.with_run(tmp_path, tickets.server.url(tickets.name))
    row = {"title": r"C:\a", "status": "OPEN"}
    columns = "sa.column('title', sa.Text), sa.column('status', sa.Text)"
    project.revision("a", f"op.bulk_insert(sa.table('tickets', {columns}), [{row}])")
    script = project.upgrade(sql=True)
    assert script.startswith("\\set ON_ERROR_STOP on")
    tickets.psql(script)
    assert tickets.value("select count(*) from tickets where title = e'C:\\\\a'") == 1
