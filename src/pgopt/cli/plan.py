"""`pgopt plan REV[:REV]`: show what revisions would do to a database."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from pgopt import env
from pgopt.cli.options import NO_URL, Arguments, ConfigFiles, Section, config_of, synchronous
from pgopt.errors import HalfDone, PgoptError
from pgopt.plan.journal import Journal
from pgopt.plan.preview import OperationView, Preview, RevisionView, SqlView, StepView
from pgopt.plan.revisions import DOWN, UP, chain_of, handed_over, revision_of
from pgopt.plan.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.config import Config
    from sqlalchemy.engine import URL

WIDTH = 100


def plan(
    revisions: Annotated[str, typer.Argument(help="Up to this revision; or from:to, which may lead down.")] = "head",
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Annotated[str | None, typer.Option(help="The database, where env.py does not say it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, with the SQL, as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Show what revisions would do to the database, with their locks; nothing is changed."""
    if revisions.startswith("-") and not _RELATIVE.fullmatch(revisions):
        raise typer.BadParameter(f"there is no option {revisions}")
    found = run(config_of(config, name, x), revisions, url)
    if as_json:
        typer.echo(json.dumps({"notes": found.notes, "revisions": list(map(asdict, found.revisions))}, indent=2))
    elif sys.stdout.isatty():
        console = Console()
        console.width = min(console.width, WIDTH)
        show(found, console)
    else:
        typer.echo("\n".join(text(found)))


def run(config: Config, revisions: str, url: str | None = None) -> Preview:
    """Run the project's env.py as for a script, with all operations shown instead of written."""
    directory = ScriptDirectory.from_config(config)
    preview = Preview(env.read_url(url, "--url") if url else None)
    options: dict[str, Any] = {
        env.PREVIEW: preview,
        "destination_rev": revisions.rsplit(":", maxsplit=1)[-1],
    }
    if _has_several(config, url):
        # as for a script, env.py would empty the scripts that may be there already
        options |= {"dont_mutate": True}
        look = partial(_look_at_one, preview, directory, revisions)
    else:
        config.attributes[env.PREVIEW] = preview
        # what begins and ends a script is nobody's
        options |= {"as_sql": True, "output_buffer": preview.output}
        look = partial(_look, preview, directory, revisions)
    try:
        with EnvironmentContext(config, directory, fn=look, **options):
            directory.run_env()
    finally:
        config.attributes.pop(env.PREVIEW, None)
    return preview


def _has_several(config: Config, url: str | None) -> bool:
    """Tell whether env.py goes through several databases, as Alembic's template for them does."""
    several = config.get_main_option("databases")
    if several and url:
        raise PgoptError(f"env.py goes through several databases ({several}), each with its own URL: leave out --url")
    return bool(several)


def _look_at_one(
    preview: Preview, directory: ScriptDirectory, revisions: str, heads: Any, online: MigrationContext
) -> list[Any]:
    """Look at one of several databases, to which env.py has connected."""
    assert online.connection is not None
    preview.url = online.connection.engine.url
    preview.database = preview.url.database
    given = {"as_sql": True, "literal_binds": True, "output_buffer": preview.output}
    context = MigrationContext.configure(
        dialect_name="postgresql",
        environment_context=online.environment_context,
        dialect_opts={"paramstyle": "named"},
        opts={**online.opts, **given},
    )
    with Operations.context(context):
        return _look(preview, directory, revisions, heads, context)


def _look(preview: Preview, directory: ScriptDirectory, revisions: str, _: Any, context: MigrationContext) -> list[Any]:
    """Let revisions run with nobody behind them; called by Alembic as what gives the steps, it gives none."""
    context.impl.output_buffer = preview.output
    preview.allows_mixed = lambda operation: (
        Settings.of(context.opts.get("pgopt_settings"), operation.settings).mixed_revisions
    )
    url = synchronous(preview.url or _url_of_config(context))
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection, preview.looking(connection):
        names = ("version_table", "version_table_schema", "script")
        options = {name: context.opts[name] for name in names if name in context.opts}
        live = MigrationContext.configure(connection, opts=options)
        steps = _steps(directory, revisions, live)
        preview.chain = chain_of(live)
        _note_half_done(preview, live, steps)
        for step in steps:
            direction = UP if step.is_upgrade else DOWN
            with preview.revision(step.revision.revision, direction, step.revision.doc):
                step.migration_fn(**handed_over())
    return []


def _url_of_config(context: MigrationContext) -> URL:
    """Find the database of an env.py that does not call `pgopt.env.run`."""
    assert context.environment_context is not None
    # what such an env.py reads is most often what alembic.ini says, whatever DATABASE_URL may be
    in_file = context.environment_context.config.get_main_option("sqlalchemy.url")
    x = context.environment_context.get_x_argument(as_dictionary=True).get("url")
    found = env.read_url(in_file, "sqlalchemy.url") if in_file and not x else env.url_of(context.environment_context)
    if found is None:
        raise PgoptError(NO_URL)
    return found


def _steps(directory: ScriptDirectory, revisions: str, live: MigrationContext) -> Sequence[Any]:
    first, parted, last = revisions.rpartition(":")
    if not last.strip("@") or (parted and not first):
        raise PgoptError(f"{revisions!r} is no range of revisions: write from:to")
    start: Any = live.get_current_heads() if not first else () if _is_base(first) else (directory.get_revision(first),)
    if first:
        start = tuple(each.revision for each in start)
    if relative := _RELATIVE.fullmatch(last):
        down = relative["sign"] == "-"
    else:
        down = bool(first) and (_is_base(last) or _is_below(directory, last, start))
    return directory._downgrade_revs(last, start) if down else directory._upgrade_revs(last, start)


# to what it begins with, or on a branch
def _is_base(revision: str) -> bool:
    return revision.rpartition("@")[-1] == "base"


_RELATIVE = re.compile(r"(.+@)?(?P<sign>[+-])\d+")


def _is_below(directory: ScriptDirectory, revision: str, heads: tuple[str, ...]) -> bool:
    wanted = directory.get_revision(revision)
    if wanted is None or wanted.revision in heads or not heads:
        return False
    return any(each.revision == wanted.revision for each in directory.walk_revisions("base", heads))  # type: ignore[arg-type]


def _note_half_done(preview: Preview, live: MigrationContext, steps: Sequence[Any]) -> None:
    try:
        Journal.of(live, revision_of(live, steps[0]) if steps else None).check()
    except HalfDone as error:
        preview.note(str(error))


# -- as text -------------------------------------------------------------------------------------------------------------


def text(preview: Preview) -> Iterator[str]:
    """Say it in lines that need no terminal."""
    yield from (f"note: {note}" for note in preview.notes)
    if not preview.revisions:
        yield "there is nothing to do"
    for revision in preview.revisions:
        yield heading(revision)
        for part in revision.parts:
            yield from _sql_lines(part) if isinstance(part, SqlView) else _operation_lines(part)
        if revision.unseen:
            yield f"  {revision.unseen}"


def heading(revision: RevisionView) -> str:
    """Name a revision, its direction and what it is for."""
    where = f" in {revision.database}" if revision.database is not None else ""
    return f"{revision.direction} {revision.id}{where}" + (f": {revision.doc}" if revision.doc else "")


def remarks(operation: OperationView) -> Iterator[str]:
    """Give what there is to say of an operation beside its steps."""
    if operation.refused:
        when = "cannot be planned yet" if operation.again else "would be refused"
        yield f"{when}: {operation.refused}"
    elif not operation.changes:
        yield "done already"
    if operation.again:
        yield "planned again when reached, after what comes before it"
    for table in operation.tables:
        rows = "never analyzed" if table.rows is None else f"about {table.rows:,} rows"
        yield f"{table.name}: {rows}, {size(table.bytes)} with indexes"
    yield from operation.notes


def state(step: StepView) -> str:
    """Say what is known of a step before it runs."""
    if step.done:
        return "done already"
    if step.done is None:
        return "looked at when reached"
    return f"first: {', '.join(step.clears)}" if step.clears else ""


def size(count: int) -> str:
    """Say a number of bytes as people do."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TB"


def _sql_lines(part: SqlView) -> Iterator[str]:
    yield "  plain SQL, in the revision's transaction"
    yield from (f"    {line}".rstrip() for line in part.sql.splitlines())


def _operation_lines(operation: OperationView) -> Iterator[str]:
    yield f"  {operation.title}"
    yield from (f"    {remark}" for remark in remarks(operation))
    for number, step in enumerate(operation.steps, 1):
        said = state(step)
        yield f"    {number}. {step.label}" + (f" ({said})" if said else "")
        if not step.done:
            locks = ", ".join(step.locks) or "no lock on what is there"
            line = f"       takes {locks}; blocks: {step.blocks}"
            yield from [line] if len(line) <= WIDTH else _a_line_each(step)


def _a_line_each(step: StepView) -> Iterator[str]:
    yield f"       blocks: {step.blocks}; takes"
    yield from (f"         {lock}" for lock in step.locks)


# -- at a terminal -------------------------------------------------------------------------------------------------------


def show(preview: Preview, console: Console) -> None:
    """Show it as tables."""
    for note in preview.notes:
        console.print(Text(note, "yellow"))
    if not preview.revisions:
        console.print("there is nothing to do")
    for revision in preview.revisions:
        console.print(Text(heading(revision), "bold"))
        for part in revision.parts:
            if isinstance(part, SqlView):
                console.print(
                    Padding(Syntax(part.sql, "postgresql", word_wrap=True, background_color="default"), (0, 2))
                )
            else:
                _show_operation(part, console)
        if revision.unseen:
            console.print(Padding(Text(revision.unseen, "yellow"), (0, 2)))


def _show_operation(operation: OperationView, console: Console) -> None:
    console.print(Padding(Text(operation.title, "bold cyan"), (0, 2)))
    for remark in remarks(operation):
        console.print(Padding(Text(remark, "dim"), (0, 4)))
    if operation.steps:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in ("step", "lock", "blocks", ""):
            table.add_column(column, overflow="fold")
        for step in operation.steps:
            waits = "" if step.done else Text(step.blocks, "green" if step.blocks == "nobody" else "yellow")
            table.add_row(Text(step.label), Text("\n".join(step.locks)), waits, Text(state(step), "dim"))
        console.print(Padding(table, (0, 2)))
