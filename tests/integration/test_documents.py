"""What README.md and docs/ show is run: Python as revisions and env.py of a real project, SQL by the server, commands by their programs."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic.config
import alembic.op
import pytest

from pgopt import Hash, IntRange, ListOf, Monthly, Quarterly, Settings, Weekly, Yearly
from pgopt.cli import main as cli
from pgopt.operations import InstallPgopt, PartitionTable, UnpartitionTable
from pgopt.operations.kinds import KINDS
from tests.databases import wait_until
from tests.integration.alembic_project import IMPATIENT, Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgopt.copy.by import Partitioning
    from tests.databases import Database

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")

# what the examples of a page take for granted
TABLES = {
    "README.md": """
        create table tickets (
            organization_id int, priority text, status text, title text, assignee_id int, created_at timestamptz default now()
        );
        create index ix_tickets_old on tickets (created_at)
    """,
    "docs/denormalized-columns.md": """
        create table users (id int primary key);
        create table profiles (user_id int primary key references users, country text, locale text, ghost_mode boolean not null);
        create table tickets (id int primary key);
        create table comments (ticket_id int references tickets, created_at timestamptz, value int, status text);
        create index on comments (ticket_id);
        create table likes (ticket_id int references tickets);
        create index on likes (ticket_id);
        create table "Order items" (id int primary key);
        create schema sales;
        create table sales.orders (id int primary key)
    """,
    "docs/jobs.md": "create table tickets (id int primary key)",
    "docs/materialized-views.md": """
        create table "TokenUsage" ("userId" text, tokens int);
        create table users (
            id uuid primary key, username text, country text, xp bigint, ghost_mode boolean, leaderboard_opt_in boolean
        )
    """,
    "docs/partitions.md": """
        create table audit_logs (id int, created_at timestamptz, primary key (id, created_at));
        create table visits (id int, at date, primary key (id, at));
        create table teams (id int primary key, since date not null); insert into teams values (1, '2026-01-05'), (2, '2026-03-05');
        create table players (id int primary key, team int constraint in_team references teams);
        insert into players values (1, 1), (2, 2), (3, null);
        insert into visits values (1, '2026-01-05'), (2, '2026-03-05');
        create table events (id int, at timestamptz, primary key (id, at)) partition by range (at);
        create table events_old partition of events for values from (minvalue) to ('2026-01-01 00:00+00')
    """,
    "docs/retention.md": """
        create table request_logs (created_at timestamptz not null);
        create table tracked_errors (seen_at timestamptz not null, resolved boolean not null);
        create table credit_ledger (id int primary key, user_id int, created_at timestamptz not null);
        create table orders (id int primary key, created_at timestamptz not null)
    """,
}
INSTALLED = {"docs/monitoring.md": ["op.install_monitoring()"]}
# what has become of them when SQL is sent
SINCE = {
    "docs/monitoring.md": """
        alter table pgopt.snapshot alter column id restart with 96; select pgopt.take_snapshot();
        alter table pgopt.snapshot alter column id restart with 192; select pgopt.take_snapshot()
    """,
}
# a command fails by it where the revision is to be interrupted
STOP = """
    create function stop() returns event_trigger language plpgsql as 'begin perform pg_terminate_backend(pg_backend_pid()); end';
    create event trigger stop on ddl_command_start when tag in ('CREATE INDEX') execute function stop()
"""


@dataclass(frozen=True)
class Page:
    """A page, and the project that its examples are of."""

    name: str
    database: Database
    project: Project

    def blocks(self, *languages: str) -> list[str]:
        """Give what stands between fences."""
        return [text for language, text in FENCE.findall(self.text) if language in languages]

    @property
    def text(self) -> str:
        """All of it."""
        return (ROOT / self.name).read_text()

    def spans(self, start: str) -> list[str]:
        """Give what stands in a line's code and begins so."""
        return [found for found in INLINE.findall(FENCE.sub("", self.text)) if re.match(start, found)]

    def alembic(self, *arguments: str) -> str:
        """Run alembic in this process, in the folder of the project."""
        with redirect_stdout(said := io.StringIO()):
            alembic.config.main([*arguments])
        return said.getvalue()


@pytest.fixture(params=PAGES)
def page(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    """Each page, in the folder of a project with its tables."""
    name = request.param
    project = Project.with_run(tmp_path, "postgresql://nowhere", "Base.metadata", "from app.models import Base")
    project.replace(project.ini, "[alembic]", "[alembic]\nprepend_sys_path = %(here)s")
    (tmp_path / "app").mkdir()
    base = "from sqlalchemy.orm import DeclarativeBase\n\n\nclass Base(DeclarativeBase):\n    pass\n"
    (tmp_path / "app" / "models.py").write_text(base)
    project.revision("1c07", "\n".join(["op.install_pgopt(version=1)", *INSTALLED.get(name, [])]))
    database.run(TABLES.get(name, ""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database.server.url(database.name))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for setting, value in IMPATIENT.items():
        monkeypatch.setenv(setting, value)
    before = set(sys.modules)
    yield Page(name, database, project)
    for each in set(sys.modules) - before:
        if each.split(".")[0] == "app":
            del sys.modules[each]


def test_pages_show_what_works(page: Page) -> None:
    for text in page.blocks("python"):
        if "pgopt.env.run" in text:
            page.project.write_env(text)
        elif "op.install_pgopt(" in text:
            page.project.revision("1c07", text, after=None)
    page.alembic("upgrade", "1c07")
    for number, text in enumerate(page.blocks("python")):
        if "pgopt.env.run" not in text and "op.install_pgopt(" not in text:
            check_python(page, f"{number}", text)
    page.database.run(SINCE.get(page.name, ""))
    for text in page.blocks("sql"):
        page.database.run(text)
    for statement in page.spans("(select|call|update) "):
        page.database.run(statement)
    for text in page.blocks(""):
        for line in text.splitlines():
            check_command(page, line)
    known = {*KINDS, *dir(alembic.op)}
    assert {name for name in re.findall(r"\bop\.(\w+)\(", page.text) if name not in known} == set()
    assert set(page.blocks("python", "sql", "", "text")) == {text for _, text in FENCE.findall(page.text)}


def test_the_line_for_the_env_py_of_a_template_and_what_remains(database: Database, tmp_path: Path) -> None:
    (line,) = (
        found
        for found in INLINE.findall((ROOT / "README.md").read_text())
        if found.startswith("context.configure(connection")
    )
    project = Project.from_template(tmp_path, database.server.url(database.name))
    project.revision("1c07", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    wish = "set transaction_per_migration=True"
    assert wish in project.must("upgrade", "head")
    call = re.search(r"context\.configure\(\s*connection=.*?\)", project.env.read_text(), re.DOTALL)
    assert call is not None
    project.replace(project.env, call[0], line)
    assert wish not in project.must("downgrade", "base")
    assert database.rows(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
    ) == [("alembic_version",)]
    assert database.value("select count(*) from alembic_version") == 0
    assert database.value("select to_regnamespace('pgopt')") is None


def test_partitions_are_named_as_the_page_says(database: Database) -> None:
    said = {
        name for name in INLINE.findall((ROOT / "docs/partitions.md").read_text()) if name.startswith("audit_logs_p")
    }
    database.run(
        "create table rows_are_there (id bigint primary key, at date not null); insert into rows_are_there values (-5, '2026-01-05')"
    )
    ways: list[Partitioning] = [
        Weekly("at"),
        Monthly("at"),
        Quarterly("at"),
        Yearly("at"),
        Hash("id", 1),
        ListOf("id", {"eu": [-5]}),
    ]
    ways.append(IntRange("id", step=1_000_000))
    database.perform(InstallPgopt(1))
    found: set[str] = set()
    for by in ways:
        method: Any = "attach" if isinstance(by, Monthly) else "copy"
        database.run(
            "create table audit_logs (like rows_are_there including all); insert into audit_logs table rows_are_there"
        )
        database.perform(
            PartitionTable(
                "audit_logs",
                by=by,
                method=method,
                default=not isinstance(by, Hash),
                widen_keys=True,
                premake=2,
                start="2026-01-12" if isinstance(by, Weekly) else None,
            )
        )
        found |= {name for (name,) in database.rows("select relid::text from pg_partition_tree('audit_logs')")}
        database.perform(UnpartitionTable("audit_logs"))
        database.run("drop table audit_logs")
    assert {re.sub("[0-9]+", "0", name) for name in said} == {re.sub("[0-9]+", "0", name) for name in found} - {
        "audit_logs"
    }


# -- Python ----------------------------------------------------------------------------------------------------------------


def check_python(page: Page, number: str, text: str) -> None:
    """It is a revision, or the body of one; a whole one goes down again, and is interrupted, too."""
    versions = page.project.root / "migrations" / "versions"
    if "revision = " in text:
        revision = re.search('^revision = "(.*)"$', text, re.MULTILINE)
        assert revision is not None
        (versions / f"{revision[1]}_.py").write_text(text)
        check_both_ways(page, revision[1])
    elif "reversible(" in text:
        path = versions / f"{number}_.py"
        path.write_text(f'revision = "{number}"\ndown_revision = "1c07"\n\n{text}')
        check_both_ways(page, number)
        path.unlink()
    else:
        page.project.revision(number, text)
        page.alembic("upgrade", number)


def check_both_ways(page: Page, revision: str) -> None:
    """It changes something, and its downgrade gives it back."""
    before = page.database.dump()
    page.alembic("upgrade", revision)
    assert page.database.dump() != before
    page.alembic("downgrade", "1c07")
    assert page.database.dump() == before


# -- commands --------------------------------------------------------------------------------------------------------------


def check_command(page: Page, line: str) -> None:
    """It is run, except for what brings other software; a status of 1 must be told of."""
    command, _, comment = line.partition(" #")
    program, *arguments = shlex.split(command.split(";")[0].replace("…", "1"))
    if program == "make":
        assert arguments[0] in targets()
    elif program == "pip":
        check_install(arguments)
    elif program == "alembic":
        assert page.alembic(*arguments), command
    elif arguments[0] == "worker":
        check_worker(page, arguments)
    else:
        assert program == "pgopt"
        if arguments[0] == "undo":
            interrupt(page, arguments[1])
        assert run(arguments) in ((0, 1) if "exits with 1" in comment or "failed" in comment else (0,)), command


def run(arguments: list[str]) -> Any:
    """Run pgopt in this process, and give its status."""
    sys.argv, before = ["pgopt", *arguments], sys.argv
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = before
    return 0


def interrupt(page: Page, revision: str) -> None:
    """Begin a revision."""
    page.database.run(STOP)
    with pytest.raises(SystemExit):
        page.alembic("upgrade", revision)
    page.database.run("drop event trigger stop; drop function stop")


def check_worker(page: Page, arguments: list[str]) -> None:
    """It works until it is told to stop."""
    others = (
        "select array_agg(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and backend_type = 'client backend'"
    )
    # by one connection: one that has just been closed may still be seen, and is not the worker's
    with page.database.connect() as looking:

        def at_work() -> set[int]:
            return set(looking.execute(others).fetchall()[0][0] or [])

        before = at_work()
        with subprocess.Popen([sys.executable, "-m", "pgopt.cli.main", *arguments], env=os.environ) as process:
            try:
                wait_until("it is connected", lambda: at_work() - before, seconds=120)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()


def check_install(arguments: list[str]) -> None:
    """What is installed is this package, and the extras are there."""
    (wanted,) = re.findall(r"^pgopt\[(.*)\]$", arguments[1])
    assert arguments[0] == "install"
    assert re.search(rf"^{wanted} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def targets() -> set[str]:
    """What the Makefile can make; a name with a pattern is one of several."""
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(phony.split())


# -- the tables of the README ------------------------------------------------------------------------------------------------


def first_cells(heading: str) -> list[str]:
    """The code in the first column of the table below a heading."""
    section = (ROOT / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in INLINE.findall(row)]


def test_the_readme_lists_each_operation_and_its_inverse() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|.*\| (.*?) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    named = {name for row in rows for cell in row for name in INLINE.findall(cell)}
    assert named & KINDS.keys() == KINDS.keys()
    assert set(first_cells("Operations")) <= KINDS.keys()


def test_the_readme_lists_each_setting() -> None:
    assert set(first_cells("Settings")) == set(vars(Settings()))


def test_commands_in_a_sentence_are_there() -> None:
    known = set(re.findall(r'app\.command\("(.+?)"\)', Path(cli.__file__).read_text()))
    for name in PAGES:
        said = INLINE.findall(FENCE.sub("", (ROOT / name).read_text()))
        assert {each.split()[1] for each in said if each.startswith("make ")} <= targets(), name
        assert {each.split()[1] for each in said if re.match(r"pgopt [a-z]", each)} <= known, name
