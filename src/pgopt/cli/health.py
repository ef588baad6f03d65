"""`pgopt health`: what is wrong with a database, and the operation that mends it."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, url_of
from pgopt.cli.plan import WIDTH
from pgopt.monitoring.checks import Health, look
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL


def health(
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Say what is wrong with the database, what hurts most first; exits with 1 where something is. Nothing is changed."""
    found = run(url_of(url, config_of(config, name, x)))
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(text(found)))
    if found.findings:
        raise typer.Exit(1)


def run(url: URL) -> Health:
    """Make all checks on a database; pgopt need not be installed in it."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        return look(Session(connection))


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
