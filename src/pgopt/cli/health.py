"""`pgopt health`: what is wrong with a database, and the operation that mends it."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path  # noqa: TC003  -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy.exc import DBAPIError

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, url_of
from pgopt.cli.plan import WIDTH
from pgopt.errors import PgoptError
from pgopt.monitoring.checks import Health, look, reading
from pgopt.monitoring.report import gather
from pgopt.server.session import Session, server_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import URL


def health(
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,  # noqa: FBT002
    html: Annotated[Path | None, typer.Option(help="Write a page with charts to this file, too.")] = None,
    watching: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,  # noqa: FBT002
    every: Annotated[float, typer.Option(help="How many seconds --watch pauses.")] = 10,
) -> None:
    """Say what is wrong with the database, what hurts most first; exits with 1 where something is. Nothing is changed."""
    address = url_of(url, config_of(config, name, x))
    said = partial(_as_json, indent=None if watching else 2) if as_json else _as_text
    if watching:
        found = watch(address, every, lambda found: _show(said(found)))
    else:
        found = run(address, html)
        typer.echo(said(found))
    if found.findings:
        raise typer.Exit(1)


def run(url: URL, html: Path | None = None) -> Health:
    """Make all checks on a database, and write a page of them; pgopt need not be installed in it."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        session = Session(connection)
        with reading(session):
            if html is None:
                return look(session)
            report = gather(session)
    try:
        html.write_text(report.page(), encoding="utf-8")
    except OSError as error:
        raise PgoptError(f"the page cannot be written: {error}") from error
    return report.health


def watch(url: URL, every: float, show: Callable[[Health], None]) -> Health:
    """Look again and again until an interruption, on a new connection each time; gives what was seen last."""
    found = Health()
    try:
        while True:
            try:
                found = run(url)
            except (PgoptError, DBAPIError) as error:
                # a server that is away may come back
                found = Health(notes=[server_error(error).sentence if isinstance(error, DBAPIError) else str(error)])
            show(found)
            time.sleep(every)
    except KeyboardInterrupt:
        return found


def _show(said: str) -> None:
    """Show it in the place of what was there before, or below it where there is no screen."""
    if sys.stdout.isatty():
        # go home, and clear what is below
        typer.echo("\033[H\033[J", nl=False)
    typer.echo(said)
    sys.stdout.flush()


def _as_json(found: Health, indent: int | None) -> str:
    return json.dumps(asdict(found), indent=indent)


def _as_text(found: Health) -> str:
    return "\n".join(text(found))


def text(found: Health) -> Iterator[str]:
    """Say it in lines of at most a hundred columns; a mend stands on lines of its own, to be copied."""
    for note in found.notes:
        yield from textwrap.wrap(f"note: {note}", WIDTH, subsequent_indent="      ")
    if not found.findings:
        yield "nothing was found"
    for finding in found.findings:
        # long names are not broken, so that they can be copied
        words = {"break_long_words": False, "break_on_hyphens": False}
        line = f"{finding.check}: {finding.subject}: {finding.message}"
        yield from textwrap.wrap(line, WIDTH, subsequent_indent="    ", **words)  # type: ignore[arg-type]
        yield from textwrap.wrap(
            finding.mend,
            WIDTH,
            initial_indent="  → ",
            subsequent_indent="        ",
            **words,  # type: ignore[arg-type]
        )
