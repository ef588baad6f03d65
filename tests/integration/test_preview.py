"""`pgopt plan`: what revisions would do to a database, before they do it."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from pgopt import PgoptError
from pgopt.cli import plan
from pgopt.plan.preview import OperationView, SqlView
from tests.databases import wait_until
from tests.integration.alembic_project import PLAIN, PLAIN_DOWN, Project, index, no_index
from tests.integration.test_templates import TICKETS, version
from tests.integration.test_undo import kill_upgrade

if TYPE_CHECKING:
    from pathlib import Path

    from pgopt.plan.preview import Preview
    from tests.databases import Database

READS = """
op.execute("create table before_it (id int)")
names = [row.status for row in op.get_bind().execute(sa.text("select status from tickets"))]
op.execute("create table after_it (id int)")
"""


@pytest.fixture
def tickets(database: Database) -> Database:
    database.run(TICKETS + "analyze tickets;")
    return database


@pytest.fixture(params=["run", "template", "asyncpg"])
def project(request: pytest.FixtureRequest, tickets: Database, tmp_path: Path) -> Project:
    driver = "asyncpg" if request.param == "asyncpg" else "psycopg"
    url = tickets.server.url(tickets.name, driver)
    if request.param == "run":
        return Project.with_run(tmp_path, url)
    return Project.from_template(tmp_path, url, "async" if driver == "asyncpg" else "generic")


@pytest.fixture
def run_project(tickets: Database, tmp_path: Path) -> Project:
    return Project.with_run(tmp_path, tickets.server.url(tickets.name))


def preview(project: Project, revisions: str = "head", *x: str, url: str | None = None) -> Preview:
    return plan.run(project.config(*x), revisions, url)


def operations(found: Preview) -> list[OperationView]:
    return [part for revision in found.revisions for part in revision.parts if isinstance(part, OperationView)]


def chain(project: Project) -> None:
    project.revision("a", PLAIN.format("people"), PLAIN_DOWN.format("people"))
    project.revision("b", f"{index('ix_one')}\n{index('ix_two', column='title')}", no_index("ix_one"))
    project.revision("c", index("ix_people", "people", "id"), no_index("ix_people", "people", "id"))


def test_each_revision_is_shown_and_nothing_is_changed(project: Project, tickets: Database) -> None:
    chain(project)
    before = tickets.dump()
    found = preview(project)
    assert [(each.id, each.direction, each.doc, each.unseen) for each in found.revisions] == [
        ("a", "upgrade", "Revision a", None),
        ("b", "upgrade", "Revision b", None),
        ("c", "upgrade", "Revision c", None),
    ]
    (sql,) = found.revisions[0].parts
    assert isinstance(sql, SqlView)
    assert sql.sql.startswith("CREATE TABLE people")
    one, two, people = operations(found)
    assert [one.again, two.again, people.again] == [True, True, True]
    assert one.operation == "CreateIndexConcurrently('ix_one', 'tickets', ('status',))"
    (step,) = one.steps
    assert step.label == "build ix_one on public.tickets"
    assert step.sql[0].startswith('create index concurrently "ix_one" on')
    assert step.locks == ["SHARE UPDATE EXCLUSIVE on public.tickets"]
    assert step.blocks == "nobody"
    assert step.done is False
    (table,) = one.tables
    assert (table.name, table.rows) == ("tickets", 100)
    assert table.bytes == tickets.value("select pg_total_relation_size('tickets')")
    # its table comes with the first revision
    assert "there is no table 'people'" in str(people.refused)
    assert tickets.dump() == before
    assert tickets.value("select to_regclass('alembic_version')") is None
    assert tickets.value("select count(*) from tickets") == 100


def test_only_the_first_operation_is_certain(project: Project, tickets: Database) -> None:
    chain(project)
    project.upgrade("a")
    one, two, people = operations(preview(project))
    assert [one.again, two.again, people.again] == [False, True, True]
    assert people.refused is None
    # what changes nothing leaves the next one certain
    tickets.run("create index ix_one on tickets (status)")
    one, two, people = operations(preview(project))
    assert [one.again, two.again, people.again] == [False, False, True]
    assert one.steps[0].done is True
    assert not one.changes


def test_what_is_shown_is_what_the_run_does(project: Project, tickets: Database) -> None:
    project.revision("a", index("ix_one"))
    (shown,) = operations(preview(project))
    tickets.run("alter system set log_statement = 'none'")
    project.upgrade()
    made = tickets.value("select indexdef from pg_indexes where indexname = 'ix_one'")
    tickets.run("drop index ix_one")
    tickets.run(shown.steps[0].sql[0])
    assert tickets.value("select indexdef from pg_indexes where indexname = 'ix_one'") == made


@pytest.mark.parametrize(
    ("revisions", "shown"),
    [
        ("head", ["b", "c"]),
        ("b", ["b"]),
        ("+1", ["b"]),
        ("base:a", ["a"]),
        ("a:c", ["b", "c"]),
        ("c:a", ["c", "b"]),
        ("b:base", ["b", "a"]),
        ("-1", ["a"]),
        ("c:-2", ["c", "b"]),
        ("a:+1", ["b"]),
        ("a", []),
    ],
)
def test_a_range_of_revisions(revisions: str, shown: list[str], run_project: Project) -> None:
    chain(run_project)
    run_project.upgrade("a")
    found = preview(run_project, revisions)
    assert [each.id for each in found.revisions] == shown
    down = revisions in ("c:a", "b:base", "-1", "c:-2")
    assert {each.direction for each in found.revisions} <= {"downgrade" if down else "upgrade"}


def test_an_unknown_revision_is_refused(run_project: Project) -> None:
    chain(run_project)
    assert "Can't locate revision identified by 'zz'" in run_project.refused("plan", "zz", program="pgopt")
    assert "Can't locate revision identified by 'zz'" in run_project.refused("plan", "zz:b", program="pgopt")
    for said in (":", ":b", "b:", "@", "a:@"):
        assert f"'{said}' is no range of revisions" in run_project.refused("plan", said, program="pgopt")
    assert "there is no revision ''" in run_project.refused("undo", "", program="pgopt")
    assert "there is no option --jsno" in run_project.call("plan", "--jsno", program="pgopt").stderr


def test_a_relative_revision_is_no_option(run_project: Project) -> None:
    chain(run_project)
    run_project.upgrade("a")
    assert run_project.must("plan", "-1", program="pgopt").startswith("downgrade a")


def test_who_is_kept_waiting(run_project: Project, tickets: Database) -> None:
    tickets.run(
        "create table parts (id int, at date) partition by range (at);"
        "create table parts_1 partition of parts for values from ('2025-01-01') to ('2026-01-01');"
        "create index ix_old on tickets (title)"
    )
    run_project.revision("a", index("ix_parts", "parts", "id"))
    run_project.revision("b", "op.rename_index('ix_old', 'ix_new')")
    run_project.revision("c", "op.install_pgopt(version=1)\nop.backfill('tickets', set={'title': \"'x'\"})")
    steps = {step.label: step for operation in operations(preview(run_project)) for step in operation.steps}
    parent, leaf = steps["create ix_parts on public.parts alone"], steps["build parts_1_ix_parts on public.parts_1"]
    attach, rename = (
        steps["attach parts_1_ix_parts of public.parts_1 to ix_parts"],
        steps["rename index ix_old to ix_new"],
    )
    install = steps["install version 1 of the pgopt schema"]
    backfill = steps["backfill title of public.tickets"]
    assert parent.blocks == "writes, for an instant"
    assert parent.locks == ["SHARE on public.parts"]
    assert leaf.blocks == "nobody"
    assert attach.blocks == "reads and writes, for an instant"
    assert rename.blocks == "nobody"
    assert rename.locks == ["SHARE UPDATE EXCLUSIVE on public.ix_old"]
    assert (install.blocks, install.locks) == ("nobody", [])
    assert backfill.blocks == "writers of the rows of one batch, for an instant"
    assert backfill.locks == ["ROW EXCLUSIVE on public.tickets"]


def test_what_is_done_is_said_only_where_it_is_certain(run_project: Project, tickets: Database) -> None:
    tickets.run("create index ix_list on tickets (status)")
    run_project.revision(
        "a", "op.replace_index_concurrently('ix_list', 'tickets', ['status', 'title'], old=['status'])"
    )
    (operation,) = operations(preview(run_project))
    # nothing of those names is there yet, so that the swap and the drop look as if they were done
    assert {step.label: step.done for step in operation.steps} == {
        "build ix_list_pgopt_new on public.tickets": False,
        "swap ix_list for the new one": None,
        "drop ix_list_pgopt_old on public.tickets": None,
    }
    assert "looked at when reached" in "\n".join(plan.text(preview(run_project)))


def test_what_an_interrupted_run_left_is_named(run_project: Project, tickets: Database) -> None:
    run_project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    run_project.upgrade()
    run_project.revision("b", f"{index('ix_one')}\n{index('ix_two', column='title')}")
    kill_upgrade(run_project, tickets)
    found = preview(run_project)
    one, two = operations(found)
    assert one.steps[0].done is True
    assert two.steps[0].clears == ["drop ix_two on public.tickets"]
    assert found.notes == []
    assert "(first: drop ix_two on public.tickets)" in "\n".join(plan.text(found))
    (note,) = preview(run_project, "a:base").notes
    assert "the upgrade of revision b was interrupted" in note


def test_what_a_revision_of_the_range_installs_is_not_asked_for(run_project: Project) -> None:
    needs = "op.set_storage_parameters('tickets', {'fillfactor': 90})"
    run_project.revision("a", needs)
    run_project.revision("b", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    run_project.revision("c", f"{needs}\nop.reindex_bloated()")
    before, _, after, bloat = operations(preview(run_project))
    assert "add `op.install_pgopt(version=1)` to an earlier revision" in str(before.refused)
    assert after.refused == bloat.refused == "it needs what install_pgopt brings in upgrade b"
    assert "cannot be planned yet: it needs what" in "\n".join(plan.text(preview(run_project)))


def test_a_revision_that_reads_the_database_says_so(project: Project, tickets: Database) -> None:
    project.revision("a", index("ix_a"))
    project.revision("b", READS)
    project.revision("c", index("ix_c"))
    first, second, third = preview(project).revisions
    assert first.unseen is None
    assert "reads the database in Python" in str(second.unseen)
    (sql,) = second.parts
    assert isinstance(sql, SqlView)
    assert "create table before_it" in sql.sql
    assert "after_it" not in sql.sql
    assert third.unseen is None
    (operation,) = third.parts
    assert isinstance(operation, OperationView)
    assert operation.again


def test_a_mixed_revision_is_announced(project: Project, tickets: Database, monkeypatch: Any) -> None:
    project.revision("a", f"{PLAIN.format('people')}\n{index('ix_a')}")
    project.revision(
        "b", f"with op.get_context().autocommit_block():\n    op.execute('vacuum tickets')\n{index('ix_b')}"
    )
    one, two = operations(preview(project))
    assert any("the run will refuse it" in note for note in one.notes)
    assert not any("the run will refuse it" in note for note in two.notes)
    with pytest.raises(PgoptError, match="a revision of its own"):
        project.upgrade()
    monkeypatch.setenv("PGOPT_MIXED_REVISIONS", "1")
    one, two = operations(preview(project))
    assert one.notes == []


def test_what_would_be_refused_is_said(run_project: Project, tickets: Database) -> None:
    tickets.run("create index ix_a on tickets (title)")
    run_project.revision("a", index("ix_a"))
    (operation,) = operations(preview(run_project))
    assert "there is an index public.ix_a already" in str(operation.refused)
    assert "would be refused:" in "\n".join(plan.text(preview(run_project)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("['statuss']", 'column "statuss" does not exist'),
        ("['status'], where='stauts = 1'", 'column "stauts" does not exist'),
        ("['status foo_ops']", 'operator class "foo_ops" does not exist'),
        ("['status'], using='gim'", 'access method "gim" does not exist'),
        ("['(status || random())']", "must be marked IMMUTABLE"),
    ],
)
def test_an_index_that_the_server_would_refuse_is_said(
    run_project: Project, tickets: Database, wrong: str, said: str
) -> None:
    run_project.revision("a", f"op.create_index_concurrently('ix_a', 'tickets', {wrong})")
    before = tickets.dump()
    (operation,) = operations(preview(run_project))
    assert said in str(operation.refused)
    assert tickets.dump() == before


def test_nobody_is_disturbed(run_project: Project, tickets: Database) -> None:
    tickets.run("create index ix_a on tickets (status)")
    chain(run_project)
    run_project.revision("d", index("ix_a"))
    with tickets.connect() as connection:
        # whoever took more than ACCESS SHARE on the table would wait for this, and in the end fail
        connection.execute("begin; lock table tickets in exclusive mode")
        found = preview(run_project)
        connection.execute("rollback")
    assert [part.refused for part in operations(found)][-1] is None
    # the server takes a moment to notice that a connection was closed
    looking = "select count(*) from pg_stat_activity where application_name = 'pgopt plan'"
    wait_until("nobody looks any more", lambda: tickets.value(looking) == 0)


def test_a_table_that_is_locked_is_not_waited_for_long(run_project: Project, tickets: Database) -> None:
    tickets.run("create index ix_a on tickets (status)")
    run_project.revision("a", index("ix_a"))
    with tickets.connect() as connection:
        connection.execute("begin; lock table tickets in access exclusive mode")
        (operation,) = operations(preview(run_project))
        connection.execute("rollback")
    assert "lock timeout" in str(operation.refused)


def test_the_session_may_only_read(run_project: Project, tickets: Database) -> None:
    from sqlalchemy import exc

    from pgopt.plan.preview import Preview
    from pgopt.server.session import Session

    with (
        tickets.engine(isolation_level="AUTOCOMMIT").connect() as connection,
        Preview().looking(connection),
        pytest.raises(exc.DBAPIError, match="read-only transaction"),
    ):
        Session(connection).run("create table no_such_table (id int)")


def test_sizes_of_a_partitioned_table_are_those_of_its_partitions(run_project: Project, tickets: Database) -> None:
    tickets.run(
        "create table parts (id int, at date) partition by range (at);"
        "create table parts_1 partition of parts for values from ('2025-01-01') to ('2026-01-01');"
        "create table parts_2 partition of parts for values from ('2026-01-01') to ('2027-01-01');"
        "insert into parts select g, date '2025-06-01' + g % 400 from generate_series(1, 1000) g; analyze parts"
    )
    run_project.revision("a", index("ix_parts", "parts", "id"))
    (operation,) = operations(preview(run_project))
    sizes = {table.name: (table.rows, table.bytes) for table in operation.tables}
    total = tickets.value("select pg_total_relation_size('parts_1') + pg_total_relation_size('parts_2')")
    assert sizes["parts"] == (1000, total)
    assert sizes["parts_1"][0] + sizes["parts_2"][0] == 1000  # type: ignore[operator]


def test_a_table_that_was_never_analyzed_says_so(run_project: Project, tickets: Database) -> None:
    tickets.run("create table fresh (id int)")
    run_project.revision("a", index("ix_fresh", "fresh", "id"))
    (operation,) = operations(preview(run_project))
    assert operation.tables[0].rows is None
    assert "fresh: never analyzed" in "\n".join(plan.text(preview(run_project)))


@pytest.mark.parametrize(
    ("set_", "sentence"),
    [
        ("coalesce(priority", "syntax error"),
        ("no_such_function(title)", "no_such_function"),
        ("1 / length(title)", None),
    ],
)
def test_what_batches_do_is_read_by_the_server(
    run_project: Project, tickets: Database, set_: str, sentence: str | None
) -> None:
    tickets.run("create table kept (id bigint primary key, title text, amount int)")
    run_project.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    run_project.upgrade()
    run_project.revision("b", f"op.backfill('kept', set={{'amount': {set_!r}}})")
    (operation,) = operations(preview(run_project))
    assert operation.refused is None if sentence is None else sentence in str(operation.refused)


def test_locks_of_many_tables_have_a_line_each(run_project: Project, tickets: Database) -> None:
    names = "".join(f"create table kept_for_long_{n} partition of kept for values in ({n});" for n in range(4))
    tickets.run(f"create table kept (id int, status text) partition by list (id); {names}")
    run_project.revision("a", "op.create_check_constraint_online('kept_status', 'kept', \"status <> ''\")")
    lines = list(plan.text(preview(run_project)))
    assert max(map(len, lines)) <= 100
    assert [line.strip() for line in lines if "kept_for_long_3" in line]


# -- the database it looks at --------------------------------------------------------------------------------------------


def test_it_looks_at_the_database_that_the_run_would_take(tickets: Database, tmp_path: Path, monkeypatch: Any) -> None:
    right, wrong = tickets.server.url(tickets.name), "postgresql://nobody:secret@127.0.0.1:1/none"
    for kind in ("run", "template"):
        root = tmp_path / kind
        root.mkdir()
        project = Project.with_run(root, right) if kind == "run" else Project.from_template(root, right)
        chain(project)
        monkeypatch.delenv("DATABASE_URL", raising=False)
        assert len(preview(project).revisions) == 3
        monkeypatch.setenv("DATABASE_URL", wrong)
        if kind == "run":
            with pytest.raises(PgoptError, match=r"could not connect to .*127\.0\.0\.1"):
                preview(project)
        else:
            assert len(preview(project).revisions) == 3
        assert len(preview(project, url=right).revisions) == 3
        assert len(preview(project, "head", f"url={right}").revisions) == 3
        with pytest.raises(PgoptError, match=r"could not connect to .*127\.0\.0\.1"):
            preview(project, url=wrong)


def test_a_url_in_env_py_counts(tickets: Database, tmp_path: Path) -> None:
    project = Project.with_run(tmp_path, "", f"url={tickets.server.url(tickets.name)!r}")
    chain(project)
    assert len(preview(project).revisions) == 3


def test_without_a_database_it_says_how_to_name_one(tmp_path: Path) -> None:
    project = Project.from_template(tmp_path, "driver://user:secret@localhost/dbname")
    chain(project)
    project.replace(project.env, "url=url,", "dialect_name='postgresql',")
    assert "URL in sqlalchemy.url cannot be read" in project.refused("plan", program="pgopt")
    project.replace(project.ini, "sqlalchemy.url =", "# ")
    assert "--url" in project.refused("plan", program="pgopt", DATABASE_URL="")


def test_a_version_table_in_another_schema_is_found(tickets: Database, tmp_path: Path) -> None:
    tickets.run("create schema kept")
    project = Project.with_run(tmp_path, tickets.server.url(tickets.name), "version_table_schema='kept'")
    chain(project)
    project.upgrade("b")
    assert [each.id for each in preview(project).revisions] == ["c"]


# -- how it looks --------------------------------------------------------------------------------------------------------


def test_the_command_prints_plain_lines_where_there_is_no_terminal(run_project: Project, tickets: Database) -> None:
    chain(run_project)
    done = run_project.call("plan", program="pgopt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "upgrade a: Revision a\n  plain SQL, in the revision's transaction\n    CREATE TABLE people (" in done.stdout
    assert (
        "  create_index_concurrently ix_one on tickets\n"
        "    planned again when reached, after what comes before it\n"
        "    tickets: about 100 rows, "
    ) in done.stdout
    assert (
        "    1. build ix_one on public.tickets\n       takes SHARE UPDATE EXCLUSIVE on public.tickets; blocks: nobody\n"
    ) in done.stdout
    run_project.upgrade()
    assert run_project.call("plan", program="pgopt").stdout == "there is nothing to do\n"
    assert version(tickets) == "c"


def test_the_command_prints_json(project: Project) -> None:
    chain(project)
    done = project.call("plan", "b", "--json", program="pgopt")
    found = json.loads(done.stdout)
    assert [each["id"] for each in found["revisions"]] == ["a", "b"]
    assert found["revisions"][0]["parts"][0]["sql"].startswith("CREATE TABLE people")
    (step,) = found["revisions"][1]["parts"][0]["steps"]
    assert step["locks"] == ["SHARE UPDATE EXCLUSIVE on public.tickets"]
    assert step["done"] is False


@pytest.mark.parametrize("width", [60, 80, 100])
def test_tables_fit_the_terminal(width: int, run_project: Project, tickets: Database) -> None:
    long = "a_rather_long_name_of_a_table_that_people_do_have_in_databases"
    tickets.run(f"create table {long} (id int, status text)")
    chain(run_project)
    run_project.revision("d", index("ix_of_the_long_one_is_as_long_as_names_can_be_in_postgresql_18", long))
    run_project.revision("e", READS)
    output = io.StringIO()
    plan.show(preview(run_project), Console(file=output, width=width, force_terminal=True))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    assert "SHARE" in output.getvalue()
    assert any("cannot be shown" in line for line in lines)
