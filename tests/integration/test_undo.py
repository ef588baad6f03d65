"""Revisions killed before they were stamped: what is refused, what finishes them, and what takes them back."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from pgopt import HalfDone, InvalidOperation
from tests.databases import wait_until
from tests.integration.alembic_project import PLAIN, PLAIN_DOWN, Project, index, no_index
from tests.integration.test_env import held
from tests.integration.test_templates import TICKETS, relations, version

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Database

TWO = f"{index('ix_one')}\n{index('ix_two', column='title')}"
NOT_TWO = f"{no_index('ix_two', column='title')}\n{no_index('ix_one')}"

PER_MIGRATION = "transaction_per_migration=True"
KINDS = ["run", "template", "one transaction", "asyncpg", "engine.begin"]


@pytest.fixture
def tickets(database: Database) -> Database:
    database.run(TICKETS)
    return database


def project_of(kind: str, tickets: Database, root: Path) -> Project:
    """A project with such an env.py."""
    if kind == "run":
        return Project.with_run(root, tickets.server.url(tickets.name))
    driver, template = ("asyncpg", "async") if kind == "asyncpg" else ("psycopg", "generic")
    project = Project.from_template(root, tickets.server.url(tickets.name, driver), template)
    if kind == "template":
        project.configure(PER_MIGRATION)
    if kind == "engine.begin":
        project.replace(project.env, "connectable.connect()", "connectable.begin()")
    return project


@pytest.fixture(params=KINDS)
def project(request: pytest.FixtureRequest, tickets: Database, tmp_path: Path) -> Project:
    """A chain whose revision `b` makes two indexes, at the revision before it."""
    found = project_of(request.param, tickets, tmp_path)
    found.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    found.upgrade()
    found.revision("b", TWO, NOT_TWO)
    return found


@pytest.fixture
def run_project(tickets: Database, tmp_path: Path) -> Project:
    """The same with `pgopt.env.run` alone."""
    found = project_of("run", tickets, tmp_path)
    found.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    found.upgrade()
    found.revision("b", TWO, NOT_TWO)
    return found


def waits(database: Database, words: str) -> Any:
    """The process of the server that waits for others in such a statement."""
    return database.value(
        "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        f" and query ilike '{words}%'"
    )


def kill(
    project: Project, tickets: Database, words: str, *arguments: str, program: str = "alembic", orphan: bool = False
) -> None:
    """Kill a command by SIGKILL while it waits in a statement, and its session with it, unless that is left behind."""
    with held(tickets):
        process = project.start(*arguments, program=program)
        pid = wait_until(f"it waits in {words}", lambda: waits(tickets, words) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        process.communicate()
        if not orphan:
            tickets.run(f"select pg_terminate_backend({pid}, 10000)")


def kill_upgrade(project: Project, tickets: Database) -> None:
    """Kill the upgrade of `b` in its second index."""
    tickets.run("create table ix_two ()")
    project.call("upgrade", "b")
    tickets.run("drop table ix_two")
    assert "ix_one" in relations(tickets)
    kill(project, tickets, "create index concurrently", "upgrade", "b")


def remembered(tickets: Database) -> list[tuple[Any, ...]]:
    return tickets.rows("select revision, direction from pgopt.run") + tickets.rows(
        "select revision, direction from pgopt.progress"
    )


def test_a_killed_upgrade_is_finished_by_the_next(project: Project, tickets: Database) -> None:
    kill_upgrade(project, tickets)
    assert remembered(tickets) == [("b", "upgrade")]
    assert version(tickets) == "a"
    assert tickets.value("select indisvalid from pg_index where indexrelid = 'ix_two'::regclass") is False
    project.upgrade("head")
    assert version(tickets) == "b"
    assert tickets.value("select count(*) from pg_index where not indisvalid") == 0
    assert remembered(tickets) == []


def test_a_killed_upgrade_is_taken_back(project: Project, tickets: Database) -> None:
    before = tickets.dump()
    kill_upgrade(project, tickets)
    assert tickets.dump() != before
    assert "revision b is as it was before its upgrade" in project.must("undo", "b", program="pgopt")
    assert tickets.dump() == before
    assert version(tickets) == "a"
    assert remembered(tickets) == []
    with pytest.raises(InvalidOperation, match="nothing to undo"):
        project.undo("b")
    project.upgrade("head")
    project.downgrade("base")
    assert version(tickets) is None


@pytest.mark.parametrize("project", ["run", "template"], indirect=True)
def test_a_killed_upgrade_is_not_downgraded_over(project: Project, tickets: Database) -> None:
    kill_upgrade(project, tickets)
    sentence = project.refused("downgrade", "-1")
    assert "the upgrade of revision b was interrupted in create_index_concurrently ix_two on tickets" in sentence
    assert "`alembic upgrade b`" in sentence
    assert "`pgopt undo b`" in sentence
    assert version(tickets) == "a"
    project.run("current")
    project.upgrade("b")
    project.downgrade("-1")
    assert relations(tickets) == set()


def test_a_killed_downgrade_is_finished_or_taken_back(project: Project, tickets: Database) -> None:
    project.revision("c", PLAIN.format("people"), PLAIN_DOWN.format("people"))
    project.upgrade("b")
    before = tickets.dump()
    kill(project, tickets, "drop index concurrently", "downgrade", "-1")
    assert remembered(tickets) == [("b", "downgrade")]
    assert version(tickets) == "b"
    assert project.undo("b") == "downgrade"
    assert tickets.dump() == before
    assert remembered(tickets) == []
    assert version(tickets) == "b"
    kill(project, tickets, "drop index concurrently", "downgrade", "-1")
    project.downgrade("b-1")
    assert relations(tickets) == set()
    assert remembered(tickets) == []
    project.upgrade("head")


def test_a_killed_downgrade_is_not_upgraded_over(run_project: Project, tickets: Database) -> None:
    project = run_project
    project.upgrade("b")
    kill(project, tickets, "drop index concurrently", "downgrade", "-1")
    # the version table says that there is nothing to do
    sentence = project.refused("upgrade", "head")
    assert "the downgrade of revision b was interrupted" in sentence
    assert "`alembic downgrade b@-1`" in sentence
    project.revision("c", PLAIN.format("people"), PLAIN_DOWN.format("people"))
    assert "the downgrade of revision b was interrupted" in project.refused("upgrade", "head")
    assert relations(tickets) == {"ix_one", "ix_two"}
    project.run("current")
    project.downgrade("b-1")
    assert relations(tickets) == set()
    project.upgrade("head")


def test_a_template_s_env_py_refuses_at_the_first_operation(tickets: Database, tmp_path: Path) -> None:
    project = project_of("template", tickets, tmp_path)
    project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.revision("b", TWO, NOT_TWO)
    project.revision("c", index("ix_c", column="title"))
    project.upgrade("b")
    kill(project, tickets, "drop index concurrently", "downgrade", "-1")
    assert "the downgrade of revision b was interrupted" in project.refused("upgrade", "head")
    assert relations(tickets) == {"ix_one", "ix_two"}


def test_plain_revisions_are_refused_too_before_anything_runs(run_project: Project, tickets: Database) -> None:
    project = run_project
    project.revision("a0", PLAIN.format("people"), PLAIN_DOWN.format("people"), after="a")
    project.revision("b", TWO, NOT_TWO)
    project.upgrade("a0")
    kill_upgrade(project, tickets)
    with pytest.raises(HalfDone, match="the upgrade of revision b was interrupted"):
        project.downgrade("a")
    assert "people" in relations(tickets)
    project.run("stamp", "b")
    # somebody has said by hand that it is done
    project.downgrade("a")
    assert relations(tickets) == set()


ADD = "op.add_column('tickets', sa.Column('more', sa.Text()))"
DROP = "op.drop_column('tickets', 'more')"
RENAME, RENAME_BACK = (
    "op.execute('alter table tickets rename title to name')",
    "op.execute('alter table tickets rename name to title')",
)
FAIL = "op.execute('select 1 / 0')"


@pytest.mark.parametrize("first_down", [DROP, no_index("ix_one")])
def test_plain_operations_that_were_rolled_back_are_passed_over(
    project: Project, tickets: Database, first_down: str
) -> None:
    before, rows = tickets.dump(), tickets.contents()
    down = [no_index("ix_one"), DROP, RENAME_BACK, PLAIN_DOWN.format("people"), "op.execute('delete from tickets')"]
    down.sort(key=lambda line: line != first_down)
    path = project.revision("b", "\n".join([index("ix_one"), ADD, RENAME, FAIL]), "\n".join(down), after="a")
    assert "division by zero" in project.call("upgrade", "head").stderr
    assert relations(tickets) == {"ix_one"}
    said = project.call("undo", "b", program="pgopt")
    assert said.returncode == 0, said.stderr
    assert "passed over, since it was rolled back: ALTER TABLE tickets DROP COLUMN more" in said.stderr
    assert (tickets.dump(), tickets.contents()) == (before, rows)
    assert remembered(tickets) == []
    project.replace(path, FAIL, PLAIN.format("people"))
    project.upgrade("head")
    assert version(tickets) == "b"


def test_what_was_there_before_is_not_taken_back(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run("create table people (id int); insert into people values (1)")
    before, rows = tickets.dump(), tickets.contents()
    down = f"{PLAIN_DOWN.format('people')}\n{no_index('ix_one')}"
    project.revision("b", f"{index('ix_one')}\n{PLAIN.format('people')}", down, after="a")
    assert "already exists" in project.call("upgrade", "head").stderr
    project.undo("b")
    assert (tickets.dump(), tickets.contents()) == (before, rows)


def test_what_of_ours_was_there_before_is_not_taken_back_either(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run(
        "alter table tickets add size int, add check (id > 0); update tickets set size = id; create index ix_one on tickets (status);"
        "alter table tickets rename constraint tickets_id_check to positive"
    )
    before, rows = tickets.dump(), tickets.contents()
    both = [
        "AddColumnOnline('tickets', 'size', 'int')",
        "CreateCheckConstraintOnline('positive', 'tickets', 'id > 0')",
        "CreateIndexConcurrently('ix_one', 'tickets', ['status'])",
        "CreateIndexConcurrently('ix_two', 'tickets', ['title'])",
    ]
    module = project.revision("b", "pass", "pass", after="a")
    text = module.read_text()
    made = f"from pgopt import operations, reversible\nup, downgrade = reversible({', '.join(f'operations.{each}' for each in both)})"
    module.write_text(f"{text}\n{made}\n\n\ndef upgrade():\n    up()\n    {FAIL}\n")
    assert "division by zero" in project.call("upgrade", "head").stderr
    assert "ix_two" in relations(tickets)
    project.undo("b")
    assert (tickets.dump(), tickets.contents()) == (before, rows)


def test_what_is_refused_has_not_begun(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run("create unique index ix_two on tickets (title, status)")
    before = tickets.dump()
    bare = "op.drop_index_concurrently('ix_two', 'tickets')"
    project.revision("b", index("ix_two"), bare, after="a")
    for _ in range(2):
        assert "it is another one" in project.refused("upgrade", "head")
    assert remembered(tickets) == []
    project.revision("b", TWO, f"{bare}\n{no_index('ix_one')}", after="a")
    assert "it is another one" in project.refused("upgrade", "head")
    assert remembered(tickets) == [("b", "upgrade")]
    said = project.must("undo", "b", program="pgopt")
    assert "passed over, since there is nothing of it to take back: drop_index_concurrently ix_two on tickets" in said
    assert tickets.dump() == before
    assert remembered(tickets) == []


def test_an_operation_on_what_was_rolled_back_is_passed_over(run_project: Project, tickets: Database) -> None:
    project = run_project
    before = tickets.dump()
    up = f"{index('ix_one')}\n{PLAIN.format('people')}\n{index('ix_p', 'people', 'id')}"
    down = f"{no_index('ix_p', 'people', 'id')}\n{PLAIN_DOWN.format('people')}\n{no_index('ix_one')}"
    project.revision("b", up, down, after="a")
    assert "did transactional work before an online operation" in project.refused("upgrade", "head")
    project.undo("b")
    assert tickets.dump() == before


def test_the_session_is_set_as_it_was(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run('create schema "Other"; create table "Other".tickets (id int, status text)')
    before = tickets.dump()
    there, back = "op.execute('set search_path = \"Other\"')", "op.execute('reset search_path')"
    up, down = (f"{there}\n{each}\n{back}" for each in (index("ix_one"), no_index("ix_one")))
    project.revision("b", f"{up}\n{FAIL}", down, after="a")
    assert "division by zero" in project.call("upgrade", "head").stderr
    assert tickets.dump() != before
    project.undo("b")
    assert tickets.dump() == before


@pytest.mark.parametrize("project", ["run", "asyncpg"], indirect=True)
def test_sql_of_its_own_is_refused(project: Project, tickets: Database) -> None:
    down = f"op.get_bind().execute(sa.text('delete from tickets'))\n{no_index('ix_one')}"
    project.revision("b", f"{index('ix_one')}\n{FAIL}", down, after="a")
    project.call("upgrade", "head")
    rows = tickets.contents()
    said = project.refused("undo", "b", program="pgopt")
    assert "the downgrade of revision b sends SQL past Alembic's operations" in said
    assert "delete from tickets" in said
    assert tickets.contents() == rows


def test_plain_operations_that_were_committed_are_taken_back(run_project: Project, tickets: Database) -> None:
    project = run_project
    before = tickets.dump()
    mixed = index("ix_one").replace(")", ", settings={'mixed_revisions': True})")
    alone = "with op.get_context().autocommit_block():\n    op.create_index('ix_two', 'tickets', ['title'])"
    alone_down = "with op.get_context().autocommit_block():\n    op.drop_index('ix_two')"
    down = [alone_down, DROP, no_index("ix_one")]
    project.revision("b", f"{ADD}\n{mixed}\n{alone}\n{FAIL}", "\n".join(down), after="a")
    assert "division by zero" in project.call("upgrade", "head").stderr
    assert relations(tickets) == {"ix_one", "ix_two"}
    project.undo("b")
    assert tickets.dump() == before


def test_what_else_fails_in_an_undo_is_an_error(run_project: Project, tickets: Database) -> None:
    project = run_project
    mixed = index("ix_one").replace(")", ", settings={'mixed_revisions': True})")
    fails = "op.execute('create schema pg_no')"
    project.revision("b", f"{ADD}\n{mixed}\n{FAIL}", f"{fails}\n{no_index('ix_one')}\n{DROP}", after="a")
    project.call("upgrade", "head")
    assert "unacceptable schema name" in project.call("undo", "b", program="pgopt").stderr
    assert relations(tickets) == {"ix_one"}


def test_an_undo_that_cannot_tell_what_is_done_says_at_which_statement(run_project: Project, tickets: Database) -> None:
    project = run_project
    mixed = index("ix_one").replace(")", ", settings={'mixed_revisions': True})")
    key = "op.create_primary_key('notes_pkey', 'notes', ['id'])"
    project.revision(
        "b", f"op.create_table('notes', sa.Column('id', sa.Integer, nullable=False))\n{key}\n{mixed}", "pass", after="a"
    )
    project.upgrade("b")
    left = no_index("ix_one").replace(")", ", settings={'mixed_revisions': True})")
    project.revision("b", f"{key}\n{mixed}", f"op.execute('create sequence counted')\n{left}\n{FAIL}", after="a")
    assert "division by zero" in project.call("downgrade", "a").stderr
    said = project.refused("undo", "b", program="pgopt")
    assert "the upgrade of revision b failed at 'ALTER TABLE notes ADD CONSTRAINT notes_pkey PRIMARY KEY (id)'" in said
    assert "multiple primary keys" in said
    assert (
        "leave the statement out of the revision for this once if it is done already, and run `pgopt undo` again"
        in said
    )
    project.revision("b", mixed, f"{left}\n{FAIL}", after="a")
    project.undo("b")
    assert "ix_one" in relations(tickets)
    assert remembered(tickets) == []


@pytest.mark.parametrize("project", ["run", "one transaction"], indirect=True)
def test_a_killed_undo_is_run_again(project: Project, tickets: Database) -> None:
    before = tickets.dump()
    kill_upgrade(project, tickets)
    kill(project, tickets, "drop index concurrently", "undo", "b", program="pgopt")
    assert remembered(tickets) == [("b", "upgrade")]
    project.undo("b")
    assert tickets.dump() == before
    assert remembered(tickets) == []


def test_a_killed_undo_is_finished_before_anything_else(run_project: Project, tickets: Database) -> None:
    before = tickets.dump()
    kill_upgrade(run_project, tickets)
    kill(run_project, tickets, "drop index concurrently", "undo", "b", program="pgopt")
    for command in ("upgrade", "b"), ("downgrade", "base"):
        said = run_project.refused(*command)
        assert (
            "an undo of the upgrade of revision b was interrupted in drop_index_concurrently ix_two on tickets" in said
        )
        assert "let `pgopt undo b` come to its end, before anything else" in said
    run_project.undo("b")
    assert tickets.dump() == before
    run_project.upgrade("b")
    assert tickets.value("select count(*) from pg_index where not indisvalid") == 0
    assert relations(tickets) == {"ix_one", "ix_two"}


def test_a_session_that_outlives_its_killed_process_is_waited_for(run_project: Project, tickets: Database) -> None:
    tickets.run("create index concurrently ix_one on tickets (status)")
    before = tickets.dump()
    kill(run_project, tickets, "create index concurrently", "upgrade", "b", orphan=True)
    run_project.undo("b")
    assert tickets.dump() == before


BACKFILL_UP = """
with op.get_context().autocommit_block():
    op.execute("alter table tickets add column if not exists size int")
op.backfill("tickets", set={"size": "length(title)"}, settings={"batch_rows": 10, "batch_most": 10})
"""
BACKFILL_DOWN = 'op.execute("alter table tickets drop column if exists size")'


def kill_backfill(
    project: Project, tickets: Database, *command: str, program: str = "alembic", least: int = 20, tasks: int = 1
) -> None:
    """Kill the upgrade of `c`, or another command, when its last backfill has done some rows."""
    before = tickets.value("select count(*) from pgopt.progress")
    process = project.start(
        *(command or ("upgrade", "c")), program=program, PGOPT_BATCH_PAUSE="1" if tasks == 1 else "0.1"
    )
    begun = f"select count(*) = {tasks} and min(keys_done) >= {least} from (select keys_done from pgopt.progress order by started_at offset {before}) p"
    wait_until("batches were made", lambda: tickets.value(begun) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    wait_until(
        "the session of the killed process has ended",
        lambda: not tickets.value("select count(*) from pg_locks where locktype = 'advisory'"),
    )


def test_how_far_batches_came_is_forgotten_with_the_undo(run_project: Project, tickets: Database) -> None:
    project = run_project
    project.upgrade()
    project.revision("c", BACKFILL_UP, BACKFILL_DOWN)
    kill_backfill(project, tickets)
    assert remembered(tickets) == [("c", "upgrade"), ("c", "upgrade")]
    project.undo("c")
    assert remembered(tickets) == []
    project.upgrade("c")
    assert tickets.value("select count(*) from tickets where size is null") == 0


def test_an_undo_leaves_what_has_the_same_name_in_another_schema(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run(
        "create schema a; create schema b; create table a.t (id int primary key);"
        "create table b.t (id int primary key, c int); insert into b.t values (1, 42)"
    )
    before, rows = tickets.dump(), tickets.contents()
    add, drop = (
        'op.{}_column_online("t", "c", "int", schema="{}")'.format(kind, "{}").format for kind in ("add", "drop")
    )
    project.revision("b", f"{add('a')}\n{FAIL}\n{add('b')}", f"{drop('b')}\n{drop('a')}", after="a")
    project.call("upgrade", "head")
    assert tickets.dump() != before
    project.undo("b")
    assert (tickets.dump(), tickets.contents()) == (before, rows)


def test_an_undo_knows_names_of_several_lines(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run('create table "a\nb" (id int)')
    before = tickets.dump()
    create, drop = (f"op.{each}_index_concurrently('i\\nx', 'a\\nb', ['id'])" for each in ("create", "drop"))
    project.revision("b", f"{create}\n{FAIL}", drop, after="a")
    project.call("upgrade", "head")
    assert tickets.dump() != before
    project.undo("b")
    assert tickets.dump() == before


def test_an_undo_does_not_fill_what_was_not_made_anew(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run(
        "create table t (id int primary key, a int, b int); insert into t select g, g from generate_series(1, 9) g"
    )
    before, rows = tickets.dump(), tickets.contents()
    up, down = ("op.backfill('t', set={'b': 'a * 2'})", "op.backfill('t', set={'a': 'coalesce(b / 2, 0)'})")
    project.revision("b", f"{index('ix_one')}\n{FAIL}\n{up}", f"{down}\n{no_index('ix_one')}", after="a")
    project.call("upgrade", "head")
    said = project.must("undo", "b", program="pgopt")
    assert "passed over, since there is nothing of it to take back: backfill t" in said
    assert (tickets.dump(), tickets.contents()) == (before, rows)


def test_an_undo_fills_a_column_that_it_makes_anew(run_project: Project, tickets: Database) -> None:
    project = run_project
    add, drop = (f"op.{kind}_column_online('tickets', 'size', 'int')" for kind in ("add", "drop"))
    project.revision("b", f"{add}\nop.backfill('tickets', set={{'size': 'length(title)'}})", drop, after="a")
    project.upgrade("b")
    rows = tickets.contents()
    project.revision(
        "b", f"{add}\nop.backfill('tickets', set={{'size': 'length(title)'}})", f"{drop}\n{FAIL}", after="a"
    )
    project.call("downgrade", "a")
    assert tickets.contents() != rows
    assert project.undo("b") == "downgrade"
    assert tickets.contents() == rows


@pytest.mark.parametrize("killed", ["done", "upgrade", "undo", "downgrade"])
def test_a_backfill_is_taken_back_as_far_as_it_came(run_project: Project, tickets: Database, killed: str) -> None:
    project = run_project
    tickets.run("alter table tickets add size int; update tickets set size = id")
    project.upgrade()
    rows = tickets.contents()
    fill = (
        "op.backfill('tickets', set={{'size': 'size {} 100'}}, settings={{'batch_rows': 10, 'batch_most': 10}})".format
    )
    project.revision("c", fill("*") + (f"\n{FAIL}" if killed == "done" else ""), fill("/"))
    if killed == "done":
        project.call("upgrade", "c")
    elif killed == "downgrade":
        project.upgrade("c")
        rows = tickets.contents()
        kill_backfill(project, tickets, "downgrade", "b")
    else:
        kill_backfill(project, tickets)
    half = tickets.contents()
    assert half != rows
    if killed == "undo":
        kill_backfill(project, tickets, "undo", "c", program="pgopt", least=10)
        assert tickets.contents() not in (half, rows)
        for command in ("upgrade", "c"), ("downgrade", "a"):
            assert "let `pgopt undo c` come to its end" in project.refused(*command)
    project.undo("c")
    assert tickets.contents() == rows
    assert remembered(tickets) == []


def test_a_backfill_that_is_two_at_once_is_not_taken_back_half_done(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run("alter table tickets add size int; update tickets set size = id")
    project.upgrade()
    rows = tickets.contents()
    fill = "op.backfill('tickets', set={'size': 'size * 10'}, settings={'batch_rows': 10, 'batch_most': 10})"
    down = f"{no_index('ix_three')}\nop.backfill('tickets', set={{'size': 'size / 100'}})"
    project.revision("c", f"{fill}\n{index('ix_three')}\n{fill}", down)
    kill_backfill(project, tickets, tasks=2)
    half = tickets.contents(), tickets.dump()
    said = project.refused("undo", "c", program="pgopt")
    assert "some rows were set before the interruption, but it is not known which (backfill tickets)" in said
    assert (tickets.contents(), tickets.dump()) == half
    project.upgrade("c")
    project.downgrade("b")
    assert tickets.contents() == rows


def test_a_backfill_of_partitions_is_taken_back_where_it_was_made(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run(
        "create table parted (id int primary key, n int) partition by range (id);"
        "create table p1 partition of parted for values from (0) to (100);"
        "create table p2 partition of parted for values from (100) to (200);"
        "insert into parted select g, g from generate_series(0, 199) g"
    )
    project.upgrade()
    rows = tickets.contents()
    fill = "op.backfill('parted', set={{'n': 'n {} 1'}}, settings={{'batch_rows': 50, 'batch_most': 50}})".format
    project.revision("c", fill("+"), fill("-"))
    with tickets.engine().connect() as other:
        other.exec_driver_sql("select from p2 for update")
        project.refused("upgrade", "c", PGOPT_LOCK_ATTEMPTS="1", PGOPT_LOCK_TIMEOUT="0.1")
    assert tickets.value("select sum(n - id) from parted") == 100
    project.undo("c")
    assert tickets.contents() == rows


def test_an_undo_that_is_run_again_knows_what_was_filled(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run("alter table tickets add size int; update tickets set size = id")
    project.upgrade("a")
    rows = tickets.contents()
    up = f"op.backfill('tickets', set={{'size': 'size * 100'}})\n{index('ix_one')}\n{FAIL}"
    drop, back = no_index("ix_one"), "op.backfill('tickets', set={'size': 'size / 100'})"
    project.revision("b", up, f"{drop}\nop.get_bind().execute(sa.text('select 1 / 0'))\n{back}", after="a")
    project.call("upgrade", "head")
    assert project.call("undo", "b", program="pgopt").returncode != 0
    assert relations(tickets) == set()
    project.revision("b", up, f"{drop}\n{back}", after="a")
    project.undo("b")
    assert tickets.contents() == rows


def test_an_index_that_was_replaced_without_words_for_the_old_one_is_taken_back(
    run_project: Project, tickets: Database
) -> None:
    project = run_project
    tickets.run("create index ix_one on tickets (status)")
    before = tickets.dump()
    up, down = (
        f"op.replace_index_concurrently('ix_one', 'tickets', {each})" for each in (["status", "title"], ["status"])
    )
    project.revision("b", f"{up}\n{FAIL}", down, after="a")
    project.call("upgrade", "head")
    assert tickets.dump() != before
    project.undo("b")
    assert tickets.dump() == before


def test_an_undo_that_failed_after_batches_were_taken_back_comes_to_its_end_first(
    run_project: Project, tickets: Database
) -> None:
    project = run_project
    project.upgrade()
    alone = f"with op.get_context().autocommit_block():\n    {BACKFILL_DOWN}\n    op.execute('create schema pg_no')"
    project.revision("c", BACKFILL_UP, alone)
    kill_backfill(project, tickets)
    assert "unacceptable schema name" in project.refused("undo", "c", program="pgopt")
    assert "let `pgopt undo c` come to its end" in project.refused("upgrade", "c")
    project.revision("c", BACKFILL_UP, BACKFILL_DOWN, after="b")
    project.undo("c")
    project.upgrade("c")
    assert tickets.value("select count(*) from tickets where size is null") == 0


def test_batches_begin_anew_after_a_stamp_by_hand(run_project: Project, tickets: Database) -> None:
    project = run_project
    project.upgrade()
    project.revision("c", BACKFILL_UP, "pass")
    kill_backfill(project, tickets)
    project.must("stamp", "c")
    project.downgrade("a")
    assert remembered(tickets) == []
    tickets.run("alter table tickets drop column size")
    project.upgrade("c")
    assert tickets.value("select count(*) from tickets where size is null") == 0


def test_what_a_block_of_autocommit_has_committed_is_taken_back(run_project: Project, tickets: Database) -> None:
    project = run_project
    before = tickets.dump()
    block = "with op.get_context().autocommit_block():\n    {}"
    up = f"{ADD}\n{block.format(index('ix_one'))}\n{FAIL}"
    project.revision("b", up, f"{block.format(no_index('ix_one'))}\n{DROP}", after="a")
    assert "division by zero" in project.call("upgrade", "head").stderr
    project.undo("b")
    assert tickets.dump() == before


def test_a_name_that_a_revision_drops_and_creates_is_taken_back(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run("create index ix_one on tickets (status)")
    before = tickets.dump()
    drop, create = no_index("ix_one"), index("ix_one", column="title")
    project.revision(
        "b", f"{drop}\n{FAIL}\n{create}", f"{no_index('ix_one', column='title')}\n{index('ix_one')}", after="a"
    )
    project.call("upgrade", "head")
    project.undo("b")
    assert tickets.dump() == before


CHECK = "op.{}_check_constraint_online('positive', 'tickets', 'id {}')".format
CHECK_TO_OTHER = f"{CHECK('drop', '> 0')}\n{CHECK('create', '>= 0')}"


@pytest.mark.parametrize("how", ["again", "undo", "undo again"])
def test_a_name_that_is_dropped_and_created_may_be_interrupted_anywhere(
    run_project: Project, tickets: Database, how: str
) -> None:
    project = run_project
    tickets.run("alter table tickets add constraint positive check (id > 0)")
    before = tickets.dump()
    back = f"{CHECK('drop', '>= 0')}\n{CHECK('create', '> 0')}"
    fails = "op.get_bind().execute(sa.text('select 1 / 0'))"
    project.revision("b", f"{CHECK_TO_OTHER}\n{FAIL}", f"{back}\n{fails if how == 'undo again' else ''}", after="a")
    project.call("upgrade", "head")
    if how == "undo again":
        for _ in range(3):
            assert "division by zero" in project.call("undo", "b", program="pgopt").stderr
        project.revision("b", f"{CHECK_TO_OTHER}\n{FAIL}", back, after="a")
    if how != "again":
        project.undo("b")
        assert tickets.dump() == before
    project.revision("b", CHECK_TO_OTHER, back, after="a")
    project.upgrade("head")
    assert ">= 0" in tickets.value("select pg_get_constraintdef(oid) from pg_constraint where conname = 'positive'")
    project.downgrade("a")
    assert tickets.dump() == before


INDEXES = "create index ia on tickets (status); create index ib on tickets (title)"


@pytest.mark.parametrize("fails", [True, False], ids=["failed", "killed"])
@pytest.mark.parametrize(
    "names",
    [
        ["RenameIndex('ia', 'tmp')", "RenameIndex('ib', 'ia')", "RenameIndex('tmp', 'ib')"],
        ["RenameIndex('ia', 'ia_old')", "CreateIndexConcurrently('ia', 'tickets', ['title', 'id'])"],
        [
            "CreateIndexConcurrently('tmp', 'tickets', ['title', 'id'])",
            "DropIndexConcurrently('ia', 'tickets', ['status'])",
            "RenameIndex('tmp', 'ia')",
        ],
        [
            "CreateIndexConcurrently('i2', 'tickets', ['id', 'title'])",
            "ReplaceIndexConcurrently('i2', 'tickets', ['title', 'id'], old=['id', 'title'])",
        ],
        [
            "CreateIndexConcurrently('i2', 'tickets', ['id', 'title'])",
            "SetStorageParameters('i2', {'fillfactor': 70})",
            "RenameIndex('i2', 'i3')",
        ],
    ],
    ids=["swapped", "renamed", "dropped", "replaced", "with parameters"],
)
def test_a_name_that_serves_twice_ends_where_it_should(
    run_project: Project, tickets: Database, names: list[str], *, fails: bool
) -> None:
    project = run_project
    tickets.run(INDEXES)
    before = tickets.dump()
    every = [*names, "CreateIndexConcurrently('last', 'tickets', ['title', 'status'])"]
    module = project.revision("b", "pass", "pass", after="a")
    made = f"from pgopt import operations, reversible\nupgrade, downgrade = reversible({', '.join(f'operations.{each}' for each in every)})"
    module.write_text(f"{module.read_text()}\n{made}\n")
    project.upgrade("head")
    after = tickets.dump()
    project.downgrade("a")
    assert tickets.dump() == before

    def interrupt(*command: str, program: str = "alembic") -> None:
        if fails:
            tickets.run("create table last ()")
            project.call(*command, program=program)
            tickets.run("drop table last")
        else:
            kill(project, tickets, "", *command, program=program)

    interrupt("upgrade", "head")
    interrupt("upgrade", "head")
    project.undo("b")
    assert tickets.dump() == before
    interrupt("upgrade", "head")
    project.upgrade("head")
    assert tickets.dump() == after
    # after its last operation, when all that it is about is gone
    text = module.read_text()
    module.write_text(f"{text}\nback = downgrade\n\n\ndef downgrade():\n    back()\n    {FAIL}\n")
    assert "division by zero" in project.call("downgrade", "a").stderr
    assert tickets.dump() == before
    module.write_text(text)
    project.downgrade("a")
    assert tickets.dump() == before


REPLACE = "op.replace_index_concurrently('ix_one', 'tickets', {}, old={})".format


@pytest.mark.parametrize("first", ["replaced", "created"])
def test_of_two_operations_on_one_name_only_what_has_begun_is_taken_back(
    run_project: Project, tickets: Database, first: str
) -> None:
    project = run_project
    both = "['status', 'title']"
    if first == "replaced":
        tickets.run("create index ix_one on tickets (status)")
        up = [REPLACE(both, "['status']"), f"op.drop_index_concurrently('ix_one', 'tickets', {both})"]
        down = [f"op.create_index_concurrently('ix_one', 'tickets', {both})", REPLACE("['status']", both)]
    else:
        up = [index("ix_one"), REPLACE(both, "['status']")]
        down = [REPLACE("['status']", both), no_index("ix_one")]
    before = tickets.dump()
    project.revision("b", "\n".join(up), "\n".join(down), after="a")
    kill(project, tickets, "create index concurrently", "upgrade", "b")
    project.undo("b")
    assert tickets.dump() == before
    project.upgrade("head")
    project.downgrade("a")
    assert tickets.dump() == before


def test_of_two_backfills_of_one_column_only_what_was_made_is_taken_back(
    run_project: Project, tickets: Database
) -> None:
    project = run_project
    tickets.run("alter table tickets add size int; update tickets set size = id")
    project.upgrade()
    rows = tickets.contents()
    fill = "op.backfill('tickets', set={{'size': 'size {}'}}, where='id {} 100')".format
    up = [fill("+ 1", "<="), index("ix_three"), fill("+ 1000", ">")]
    down = [fill("- 1000", ">"), no_index("ix_three"), fill("- 1", "<=")]
    project.revision("c", "\n".join(up), "\n".join(down))
    kill(project, tickets, "create index concurrently", "upgrade", "c")
    assert tickets.contents() != rows
    project.undo("c")
    assert tickets.contents() == rows
    project.upgrade("c")
    assert tickets.value("select sum(size - id) from tickets where id <= 100") == 100
    project.downgrade("b")
    assert tickets.contents() == rows


COUNT = "op.execute('update tickets set status = status || {}')".format
UNCOUNT = "op.execute('update tickets set status = left(status, -1) where status like {}')".format


@pytest.mark.parametrize("project", ["run", "template"], indirect=True)
def test_rows_that_plain_work_changed_are_nobodys_guess(project: Project, tickets: Database) -> None:
    block = "with op.get_context().autocommit_block():\n    {}".format
    up = [COUNT("$$a$$"), block(index("ix_one")), COUNT("$$b$$"), FAIL]
    down = [UNCOUNT("$$%b$$"), block(no_index("ix_one")), UNCOUNT("$$%a$$")]
    project.revision("b", "\n".join(up), "\n".join(down), after="a")
    kill(project, tickets, "create index concurrently", "upgrade", "b")
    half = tickets.contents()
    said = project.refused("undo", "b", program="pgopt")
    assert "changes rows, and it is not known whether the change that it undoes was made" in said
    assert tickets.contents() == half
    project.revision("b", "\n".join(up), block(no_index("ix_one")), after="a")
    project.undo("b")
    assert tickets.contents() == half
    assert "ix_one" not in relations(tickets)
    assert remembered(tickets) == []


def test_what_no_inverse_takes_back_is_told(run_project: Project, tickets: Database) -> None:
    project = run_project
    kill_upgrade(project, tickets)
    project.revision("b", index("ix_three"), no_index("ix_three"), after="a")
    said = project.must("undo", "b", program="pgopt")
    assert (
        "left as it is, since the downgrade does not take it back: create_index_concurrently ix_one on tickets" in said
    )
    assert "revision b is as it was before its upgrade, but for what is left" in said
    assert "ix_one" in relations(tickets)


BARE_DROPS = {
    "index": (index("ix_three"), "op.drop_index_concurrently('ix_three', 'tickets')"),
    "check": (
        "op.create_check_constraint_online('ok', 'tickets', 'id > 0')",
        "op.drop_check_constraint_online('ok', 'tickets')",
    ),
    "unique": (
        "op.create_unique_constraint_online('one', 'tickets', ['id', 'status'])",
        "op.drop_unique_constraint_online('one', 'tickets')",
    ),
    "statistics": (
        "op.create_statistics('known', 'tickets', ['id', 'status'])",
        "op.drop_statistics('known', 'tickets')",
    ),
    "view": (
        "op.create_materialized_view('counted', 'select count(*) from tickets')",
        "op.drop_materialized_view('counted')",
    ),
}


@pytest.mark.parametrize(("up", "down"), BARE_DROPS.values(), ids=BARE_DROPS)
def test_what_a_drop_without_a_definition_takes_back_is_not_said_to_stay(
    run_project: Project, tickets: Database, up: str, down: str
) -> None:
    before = tickets.dump()
    run_project.revision("b", f"{up}\n{FAIL}", down, after="a")
    assert "division by zero" in run_project.call("upgrade", "b").stderr
    half = tickets.dump()
    said = run_project.must("undo", "b", program="pgopt")
    assert "left as it is" not in said
    assert tickets.dump() == before != half


def test_a_column_of_the_same_name_elsewhere_is_not_filled(run_project: Project, tickets: Database) -> None:
    project = run_project
    project.upgrade("a")
    tickets.run(
        "create schema s1; create schema s2; create table s1.t (id int primary key); create table s2.t (id int primary key);"
        "insert into s1.t values (1); insert into s2.t values (1)"
    )
    both = [("s1", "1"), ("s2", "2")]
    add = (
        "op.add_column_online('t', 'n', 'int', schema='{0}')\nop.backfill('t', set={{'n': '{1}'}}, schema='{0}')".format
    )
    up = "\n".join([*(add(*each) for each in both), index("i2", "t", "n").replace(")", ", schema='s2')")])
    drop = "op.drop_column_online('t', 'n', 'int', schema='{}')".format
    no_i2 = no_index("i2", "t", "n").replace(")", ", schema='s2')")
    project.revision("b", up, f"{drop('s1')}\n{no_i2}\n{FAIL}\n{drop('s2')}", after="a")
    project.upgrade("b")
    tickets.run("update s2.t set n = 777")
    rows = tickets.contents()
    project.call("downgrade", "a")
    project.undo("b")
    assert tickets.contents() == rows


def test_a_column_that_was_never_dropped_is_not_filled(run_project: Project, tickets: Database) -> None:
    project = run_project
    project.upgrade("a")
    add, drop = (f"op.{kind}_column_online('tickets', 'size', 'int')" for kind in ("add", "drop"))
    project.revision("b", f"{add}\nop.backfill('tickets', set={{'size': 'id'}})", drop, after="a")
    project.upgrade("b")
    tickets.run("update tickets set size = 777 where id <= 100")
    rows = tickets.contents()
    with tickets.engine().connect() as other:
        other.exec_driver_sql("select from tickets")
        project.refused("downgrade", "a", PGOPT_LOCK_ATTEMPTS="1", PGOPT_LOCK_TIMEOUT="0.1")
        process = project.start("downgrade", "a")
        wait_until("it waits", lambda: waits(tickets, "alter table") or process.poll() is not None)
        process.kill()
        process.communicate()
    project.undo("b")
    assert tickets.contents() == rows


@pytest.mark.parametrize(
    "sql",
    [
        "op.execute(\"set local lock_timeout = '1s'; update tickets set status = 'lost'\")",
        "op.execute('reset lock_timeout; update tickets set status = 1')",
    ],
)
def test_what_begins_with_a_setting_was_rolled_back_too(run_project: Project, tickets: Database, sql: str) -> None:
    project = run_project
    rows = tickets.contents()
    project.revision("b", f"{index('ix_one')}\n{FAIL}", f"{sql}\n{no_index('ix_one')}", after="a")
    project.call("upgrade", "head")
    said = project.must("undo", "b", program="pgopt")
    assert "passed over, since it was rolled back" in said
    assert tickets.contents() == rows
    assert relations(tickets) == set()


@pytest.mark.parametrize("project", ["run", "asyncpg"], indirect=True)
def test_a_call_that_writes_is_refused_and_one_that_reads_is_not(project: Project, tickets: Database) -> None:
    tickets.run("create function lose() returns int language sql as 'delete from tickets returning 1'")
    rows = tickets.contents()
    reads = "assert op.get_bind().scalar(sa.text('select count(*) from tickets'))"
    writes = "op.get_bind().execute(sa.text('select lose()'))"
    project.revision("b", f"{index('ix_one')}\n{FAIL}", f"{reads}\n{no_index('ix_one')}\n{writes}", after="a")
    project.call("upgrade", "head")
    said = project.refused("undo", "b", program="pgopt")
    assert (
        "sends SQL past Alembic's operations, and it is not known whether what it undoes was rolled back: select lose()"
        in said
    )
    assert (relations(tickets), tickets.contents()) == ({"ix_one"}, rows)
    project.revision("b", f"{index('ix_one')}\n{FAIL}", f"{reads}\n{no_index('ix_one')}", after="a")
    project.undo("b")
    assert (relations(tickets), tickets.contents()) == (set(), rows)


# as people write who have no way back, or with no function at all
@pytest.mark.parametrize("down", ["raise NotImplementedError('by hand')", None])
def test_without_a_way_back_nothing_is_begun(run_project: Project, tickets: Database, down: str | None) -> None:
    project = run_project
    module = project.revision("b", f"{index('ix_one')}\n{FAIL}", down or "pass", after="a")
    if down is None:
        project.replace(module, "def downgrade", "def other")
    project.call("upgrade", "head")
    said = project.refused("undo", "b", program="pgopt")
    why = " (by hand)" if down else ""
    assert f"revision b has no downgrade(){why}: write it, or finish the revision with `alembic upgrade`" in said
    assert "Traceback" not in said
    project.replace(module, FAIL, "pass")
    project.upgrade("head")


def test_the_schema_goes_with_the_revision_that_brought_it(tickets: Database, tmp_path: Path) -> None:
    project = project_of("run", tickets, tmp_path)
    before = tickets.dump()
    up = f"op.install_pgopt(version=1)\n{index('ix_one')}\n{FAIL}"
    project.revision("a", up, f"{no_index('ix_one')}\nop.uninstall_pgopt(version=1)")
    project.call("upgrade", "head")
    assert remembered(tickets) == [("a", "upgrade")]
    project.undo("a")
    assert tickets.value("select to_regnamespace('pgopt')") is None
    assert tickets.dump() == before


FINISH = """
import os, subprocess, sys
if "FINISHED" not in os.environ:
    os.environ["FINISHED"] = "yes"
    subprocess.run([sys.executable, "-m", "alembic", "-c", {ini!r}, "upgrade", "b"], check=True)
"""


@pytest.mark.parametrize("journal", ["with", "without"])
def test_a_run_that_ends_while_an_undo_looks_is_not_taken_back(tickets: Database, tmp_path: Path, journal: str) -> None:
    project = project_of("template", tickets, tmp_path)
    if journal == "with":
        project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    else:
        project.revision("a")
    project.upgrade()
    project.revision("b", TWO, f"{FINISH.format(ini=str(project.ini))}\n{NOT_TWO}")
    kill_upgrade(project, tickets)
    known = "it was not" if journal == "with" else "its upgrade was not"
    assert f"revision b is stamped, so {known} interrupted: take it back" in project.refused(
        "undo", "b", program="pgopt"
    )
    assert {"ix_one", "ix_two"} <= relations(tickets)
    assert version(tickets) == "b"
    project.must("downgrade", "a")


def test_an_undo_that_nobody_would_tell_of_does_not_wait_for_a_run(tickets: Database, tmp_path: Path) -> None:
    project = project_of("template", tickets, tmp_path)
    project.revision("a")
    project.upgrade()
    project.revision("b", TWO, NOT_TWO)
    with held(tickets):
        upgrade = project.start("upgrade", "b")
        wait_until("it builds", lambda: waits(tickets, "create index concurrently"))
        assert "another pgopt run is at work on public.tickets" in project.refused("undo", "b", program="pgopt")
    assert upgrade.wait(60) == 0, upgrade.communicate()
    upgrade.communicate()
    assert {"ix_one", "ix_two"} <= relations(tickets)


def test_an_undo_beside_a_run_that_is_still_at_work_lets_neither_lie(tickets: Database, tmp_path: Path) -> None:
    project = project_of("template", tickets, tmp_path)
    project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.upgrade()
    before = tickets.dump()
    project.revision("b", TWO, NOT_TWO)
    with held(tickets):
        upgrade = project.start("upgrade", "b")
        wait_until("it waits", lambda: waits(tickets, "create index concurrently") or upgrade.poll() is not None)
        undo = project.start("undo", "b", program="pgopt")
        wait_until("it is told", lambda: tickets.value("select taken_back from pgopt.run"))
    undo_said, upgrade_said = undo.communicate(), upgrade.communicate()
    assert undo.returncode != 0 or upgrade.returncode != 0, (undo_said, upgrade_said)
    if upgrade.returncode != 0:
        assert "meanwhile, the other way" in "".join(upgrade_said)
        assert version(tickets) == "a"
        if undo.returncode != 0:
            project.undo("b")
        assert tickets.dump() == before
    else:
        assert relations(tickets) == {"ix_one", "ix_two"}


def test_each_of_two_half_done_revisions_can_be_taken_back(tickets: Database, tmp_path: Path) -> None:
    project = project_of("template", tickets, tmp_path)
    project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.upgrade()
    before = tickets.dump()
    project.revision("b", f"{index('ix_one')}\n{FAIL}", no_index("ix_one"))
    project.revision("c", f"{index('ix_two')}\n{FAIL}", no_index("ix_two"), after="a")
    project.call("upgrade", "b")
    # as two runs leave it that begin at once
    tickets.run("create table aside as table pgopt.run; delete from pgopt.run")
    project.call("upgrade", "c")
    tickets.run("insert into pgopt.run select * from aside; drop table aside")
    assert remembered(tickets) == [("c", "upgrade"), ("b", "upgrade")]
    project.undo("b")
    project.undo("c")
    assert tickets.dump() == before
    assert remembered(tickets) == []


def test_a_drop_that_is_broken_off_has_begun(run_project: Project, tickets: Database) -> None:
    project = run_project
    tickets.run("create index ix_one on tickets (status)")
    project.revision("b", no_index("ix_one"), index("ix_one"), after="a")
    before = tickets.dump()
    with held(tickets):
        project.refused("upgrade", "head", PGOPT_CONCURRENT_TIMEOUT="0.5")
    assert tickets.value("select indisvalid from pg_index where indexrelid = 'ix_one'::regclass") is False
    assert remembered(tickets) == [("b", "upgrade")]
    project.undo("b")
    assert tickets.dump() == before


@pytest.mark.parametrize(
    "wrong",
    [
        'op.create_index_concurrently("ix_one", "tickets", ["titel"])',
        'op.create_index_concurrently("ix_one", "tickets", ["title"], where="stauts = 1")',
        'op.create_index_concurrently("ix_one", "tickets", ["length(title) + random()"])',
        'op.create_index_concurrently("ix_one", "tickets", ["(title is null)"], unique=True)',
    ],
    ids=["column", "predicate", "not immutable", "duplicates"],
)
def test_what_fails_before_anything_is_done_has_not_begun(run_project: Project, tickets: Database, wrong: str) -> None:
    project = run_project
    before = tickets.dump()
    project.revision("b", wrong, "pass", after="a")
    project.refused("upgrade", "head")
    assert remembered(tickets) == []
    assert tickets.dump() == before
    project.revision("b", f"{index('ix_one')}\n{wrong.replace('ix_one', 'ix_two')}", "pass", after="a")
    project.refused("upgrade", "head")
    assert remembered(tickets) == [("b", "upgrade")]
    assert tickets.value("select count(*) from unnest((select begun from pgopt.run))") == 1


# -- without the schema --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run", "template"])
def test_without_the_schema_the_next_revision_can_be_taken_back(kind: str, tickets: Database, tmp_path: Path) -> None:
    project = project_of(kind, tickets, tmp_path)
    project.revision("a", PLAIN.format("people"), PLAIN_DOWN.format("people"))
    project.upgrade()
    project.revision("b", TWO, NOT_TWO)
    project.revision("c", index("ix_c"), no_index("ix_c"))
    before = tickets.dump()
    kill_upgrade(project, tickets)
    assert "revision c cannot have begun before b is stamped" in project.refused("undo", "c", program="pgopt")
    assert "revision a is stamped" in project.refused("undo", "a", program="pgopt")
    assert tickets.dump() != before
    project.undo("b")
    assert tickets.dump() == before
    assert version(tickets) == "a"
    project.upgrade("head")


def test_without_the_schema_it_says_what_goes(tickets: Database, tmp_path: Path) -> None:
    project = project_of("run", tickets, tmp_path)
    tickets.run("create index ix_one on tickets (status)")
    project.revision("b", TWO, NOT_TWO)
    kill_upgrade(project, tickets)
    said = project.call("undo", "b", program="pgopt").stderr
    [warning] = [each for each in said.splitlines() if "there is no record of what existed before b" in each]
    assert warning.endswith(
        "all of this is carried out: drop_index_concurrently ix_two on tickets, drop_index_concurrently ix_one on tickets"
    )
    assert "ix_one" not in relations(tickets)


def test_the_very_first_revision_can_be_taken_back(tickets: Database, tmp_path: Path) -> None:
    project = project_of("run", tickets, tmp_path)
    project.revision("b", TWO, NOT_TWO)
    before = tickets.dump()
    kill_upgrade(project, tickets)
    project.undo("b")
    assert tickets.dump() == before
    assert version(tickets) is None


# -- what is refused -----------------------------------------------------------------------------------------------------


def test_what_was_not_interrupted_is_refused_in_one_sentence(run_project: Project, tickets: Database) -> None:
    project = run_project
    before = tickets.dump()
    refused = project.refused("undo", "a", program="pgopt")
    assert "revision a is stamped" in refused
    assert "`alembic downgrade a@-1`" in refused
    with pytest.raises(InvalidOperation, match="no interrupted run of revision b is known"):
        project.undo("b")
    assert "Can't locate revision identified by 'zz'" in project.refused("undo", "zz", program="pgopt")
    assert tickets.dump() == before


def test_another_revision_than_the_interrupted_one_is_refused(run_project: Project, tickets: Database) -> None:
    project = run_project
    project.revision("c", index("ix_c"), no_index("ix_c"))
    kill_upgrade(project, tickets)
    with pytest.raises(InvalidOperation, match="no interrupted run of revision c is known"):
        project.undo("c")


def test_the_options_are_alembic_s(run_project: Project, tickets: Database) -> None:
    project = run_project
    kill_upgrade(project, tickets)
    url = tickets.server.url(tickets.name)
    project.replace(project.ini, "sqlalchemy.url = ", "# ")
    project.ini.rename(project.root / "other.ini")
    assert "No 'script_location' key found" in project.refused("undo", "b", program="pgopt")
    assert "which database?" in project.refused("undo", "-c", "other.ini", "b", program="pgopt")
    done = project.must("undo", "b", "-c", "other.ini", "-n", "alembic", "-x", f"url={url}", program="pgopt")
    assert "revision b is as it was" in done


def test_without_the_extra_it_says_what_to_install(run_project: Project) -> None:
    (run_project.root / "typer.py").write_text("raise ImportError('as if it were not installed')")
    done = run_project.call("undo", "b", program="pgopt")
    assert done.returncode == 64
    assert done.stderr == "pgopt: the command line needs typer and rich: pip install 'pgopt[cli]'\n"
