"""`pgopt jobs`: what is run by the clock, how it went, and when it is due."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, url_of
from pgopt.cli.plan import WIDTH
from pgopt.errors import INSTALL, NotInstalled
from pgopt.server.queries import query
from pgopt.server.quoting import literal
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import URL


@dataclass(frozen=True)
class Job:
    """A job, what it did last and what it does now; times are in seconds."""

    name: str
    when: str
    command: str
    enabled: bool
    due: str
    due_in: float
    failures: int
    """How many runs have failed in a row."""
    at_work: bool
    started: str | None
    started_ago: float | None
    took: float | None
    outcome: str | None
    error: str | None
    overdue: bool

    @property
    def ill(self) -> bool:
        """Whether somebody should look at it."""
        return self.enabled and (self.overdue or self.failures > 0)


def jobs(
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    late: Annotated[float, typer.Option(help="How many seconds late is overdue.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Show all jobs with their last run and their next; exits with 1 where one is overdue or failing. Nothing is changed."""
    found = look(url_of(url, config_of(config, name, x)), late)
    typer.echo(json.dumps([asdict(each) for each in found], indent=2) if as_json else "\n".join(text(found)))
    if any(each.ill for each in found):
        raise typer.Exit(1)


def look(url: URL, late: float = 300) -> list[Job]:
    """Ask the database."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        session = Session(connection)
        if session.value("select to_regclass('pgopt.job')") is None:
            raise NotInstalled(f"jobs are kept in the pgopt schema, which is not there: add `{INSTALL}` to a revision")
        return [Job(*row) for row in session.rows(query("jobs", "pgopt.cli", late=literal(late)))]


# -- as text -------------------------------------------------------------------------------------------------------------

_LINE = "{:<32} {:<24} {:<26} {:<15}"


def text(found: Sequence[Job]) -> Iterator[str]:
    """Say it in lines of at most a hundred columns."""
    if not found:
        yield "there are no jobs"
        return
    yield _LINE.format("job", "when", "last", "next").rstrip()
    for each in found:
        cells = (_short(each.name, 32), _short(each.when, 24), _last(each), _next(each))
        yield _LINE.format(*cells).rstrip()
        if each.ill:
            yield from textwrap.wrap(_complaint(each), WIDTH, initial_indent="  → ", subsequent_indent="    ")


def _last(job: Job) -> str:
    if job.at_work:
        return f"at work for {span(job.started_ago or 0)}"
    if job.started_ago is None:
        return "never"
    return f"{job.outcome} {span(job.started_ago)} ago"


def _next(job: Job) -> str:
    if not job.enabled:
        return "paused"
    return f"in {span(job.due_in)}" if job.due_in > 0 else "now"


def _complaint(job: Job) -> str:
    said = []
    if job.at_work and job.overdue:
        said.append("it has been running for longer than the time between two runs")
    elif job.overdue:
        said.append(f"it was due {span(-job.due_in)} ago: let pgopt worker, pgopt run-due or pg_cron run it")
    if job.failures:
        times = "once" if job.failures == 1 else f"{job.failures} times in a row"
        said.append(f"it has failed {times}: {job.error}")
    return "; ".join(said)


def span(seconds: float) -> str:
    """Say how long something is in two or three digits."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _short(words: str, width: int) -> str:
    line = " ".join(words.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
