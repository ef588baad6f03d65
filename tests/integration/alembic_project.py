"""A real Alembic project on disk, and its commands: in this process, or as a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import CommandLine, Config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

# what a test need not wait for
IMPATIENT = {
    "PGOPT_LOCK_ATTEMPTS": "3",
    "PGOPT_LOCK_TIMEOUT": "0.2",
    "PGOPT_LOCK_WAIT": "0.1",
    "PGOPT_RUNNER_TIMEOUT": "60",
}

RUN = """\
from alembic import context

import pgopt.env
from pgopt import Settings

{before}
pgopt.env.run(context{arguments})
"""

REVISION = '''\
"""{doc}"""

import sqlalchemy as sa
from pgopt import op

revision = {id!r}
down_revision = {down!r}
branch_labels = {labels!r}


def upgrade():
{up}


def downgrade():
{down_body}
'''


@dataclass
class Project:
    """A folder with alembic.ini, env.py and revisions."""

    root: Path
    url: str
    environment: dict[str, str] = field(default_factory=dict)
    last: str | None = None

    # -- how its env.py is written -----------------------------------------------------------------------------------

    @classmethod
    def with_run(cls, root: Path, url: str, arguments: str = "", before: str = "") -> Project:
        """A project whose env.py calls `pgopt.env.run`; arguments are Python, after a comma."""
        project = cls(root, url)
        (root / "migrations" / "versions").mkdir(parents=True)
        comma = f", {arguments}" if arguments else ""
        project.write_env(RUN.format(arguments=comma, before=before))
        project.ini.write_text(
            "[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n"
            f"sqlalchemy.url = {url.replace('%', '%%')}\n" + LOGGING
        )
        return project

    @classmethod
    def from_template(cls, root: Path, url: str, template: str = "generic", **changes: str) -> Project:
        """A project as `alembic init` makes it; ``configure=`` goes into the online call, ``first=`` before it."""
        project = cls(root, url)
        config = Config(str(project.ini), toml_file=str(root / "pyproject.toml"), stdout=io.StringIO())
        here = Path.cwd()
        os.chdir(root)
        try:
            command.init(config, "migrations", template)
        finally:
            os.chdir(here)
        project.replace(project.ini, "driver://user:pass@localhost/dbname", url.replace("%", "%%"))
        if "configure" in changes:
            project.configure(changes.pop("configure"))
        if "first" in changes:
            first = "".join(f"{line}\n        " for line in changes.pop("first").splitlines())
            call = "context.configure(\n            connection=connection"
            project.replace(project.env, call, first + call)
        assert not changes, changes
        return project

    def configure(self, keywords: str) -> None:
        """Put keywords into the online call of a template's `context.configure`."""
        text = "connection=connection, target_metadata=target_metadata"
        self.replace(self.env, text, f"{text}, {keywords}")

    @property
    def ini(self) -> Path:
        """The path of alembic.ini."""
        return self.root / "alembic.ini"

    @property
    def env(self) -> Path:
        """The path of env.py."""
        return self.root / "migrations" / "env.py"

    def write_env(self, text: str) -> None:
        """Write env.py anew."""
        self.env.write_text(text)

    def replace(self, path: Path, old: str, new: str) -> None:
        """Change a file; what is to be changed must be there."""
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path}:\n{text}"
        path.write_text(text.replace(old, new))

    # -- its revisions -----------------------------------------------------------------------------------------------

    def revision(
        self,
        id: str,  # noqa: A002
        up: str = "pass",
        down: str = "pass",
        *,
        after: str | Sequence[str] | None = "",
        labels: str | None = None,
    ) -> Path:
        """Write a revision, after the last one that was written where nothing else is said."""
        if after == "":
            after = self.last
        path = self.root / "migrations" / "versions" / f"{id}_.py"
        body = REVISION.format(
            doc=f"Revision {id}",
            id=id,
            down=after if isinstance(after, str) or after is None else tuple(after),
            labels=labels,
            up=textwrap.indent(textwrap.dedent(up).strip(), "    "),
            down_body=textwrap.indent(textwrap.dedent(down).strip(), "    "),
        )
        path.write_text(body)
        self.last = id
        return path

    # -- its commands ------------------------------------------------------------------------------------------------

    def config(self, *x: str, connection: Connection | None = None) -> Config:
        """Alembic's configuration, without the logging that would silence the test's own."""
        options = CommandLine().parser.parse_args([*(part for each in x for part in ("-x", each)), "current"])
        toml = self.root / "pyproject.toml"
        config = Config(
            str(self.ini),
            toml_file=str(toml) if toml.exists() else None,
            cmd_opts=options,
            stdout=io.StringIO(),
            output_buffer=io.StringIO(),
        )
        config.attributes["connection"] = connection
        # read alembic.ini before its name is taken away, by which env.py would set logging up
        assert config.file_config is not None
        config.config_file_name = None
        return config

    def run(self, name: str, *arguments: Any, x: Sequence[str] = (), connection: Any = None, **options: Any) -> str:
        """Run a command in this process, and give what it printed."""
        config = self.config(*x, connection=connection)
        with self._in_this_process():
            try:
                getattr(command, name)(config, *arguments, **options)
            finally:
                if (engine := config.attributes.get("engine")) is not None:
                    engine.dispose()
        return "".join(
            buffer.getvalue() for buffer in (config.stdout, config.output_buffer) if isinstance(buffer, io.StringIO)
        )

    def undo(self, revision: str) -> str:
        """Run `pgopt undo` in this process, and give the direction of what it took back."""
        from pgopt.cli import undo

        with self._in_this_process():
            return undo.run(self.config(), revision)[0].revision.direction

    @contextmanager
    def _in_this_process(self) -> Iterator[None]:
        before = {key: os.environ.get(key) for key in self._environment}
        bytecode = sys.dont_write_bytecode
        os.environ.update(self._environment)
        # a revision that is mended within a second would be read from the cache
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            sys.dont_write_bytecode = bytecode
            for key, value in before.items():
                os.environ.pop(key, None)
                if value is not None:
                    os.environ[key] = value

    def upgrade(self, target: str = "head", **options: Any) -> str:
        """Run `alembic upgrade` in this process."""
        return self.run("upgrade", target, **options)

    def downgrade(self, target: str, **options: Any) -> str:
        """Run `alembic downgrade` in this process."""
        return self.run("downgrade", target, **options)

    def start(self, *arguments: str, program: str = "alembic", **environment: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        module = {"alembic": "alembic.config", "pgopt": "pgopt.cli.main"}[program]
        return subprocess.Popen(
            [sys.executable, "-B", "-m", module, *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self._environment, **environment},
        )

    def call(self, *arguments: str, program: str = "alembic", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own to its end."""
        process = self.start(*arguments, program=program, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def must(self, *arguments: str, program: str = "alembic", **environment: str) -> str:
        """Run a command that must succeed, and give all that it printed."""
        done = self.call(*arguments, program=program, **environment)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout + done.stderr

    def refused(self, *arguments: str, program: str = "alembic", **environment: str) -> str:
        """Run a command that must be refused, and give its one line; a trace is no refusal."""
        done = self.call(*arguments, program=program, **environment)
        assert done.returncode not in (0, -9), done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        text = done.stdout + done.stderr
        lines = [line for line in text.splitlines() if line.startswith(("FAILED: ", "pgopt: "))]
        assert len(lines) == 1, text
        return lines[0]

    @property
    def _environment(self) -> dict[str, str]:
        return {**IMPATIENT, **self.environment}


LOGGING = """
[loggers]
keys = root,alembic
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = WARNING
handlers = console
[logger_alembic]
level = INFO
handlers =
qualname = alembic
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = generic
[formatter_generic]
format = %(levelname)s [%(name)s] %(message)s
"""

PLAIN = 'op.create_table("{0}", sa.Column("id", sa.Integer, primary_key=True))'
"""A plain revision's upgrade."""

PLAIN_DOWN = 'op.drop_table("{0}")'


def index(name: str, table: str = "tickets", column: str = "status") -> str:
    """The upgrade of an online revision."""
    return f'op.create_index_concurrently("{name}", "{table}", ["{column}"])'


def no_index(name: str, table: str = "tickets", column: str = "status") -> str:
    """The downgrade of an online revision."""
    return f'op.drop_index_concurrently("{name}", "{table}", ["{column}"])'
