"""`pgopt run-due` and `pgopt worker`: what runs jobs where pg_cron does not."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy.exc import DBAPIError

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, url_of
from pgopt.errors import StatementFailed
from pgopt.jobs.runner import Runner
from pgopt.jobs.worker import Worker
from pgopt.plan.settings import Settings
from pgopt.server.pooler import refuse_pooler
from pgopt.server.session import Session, server_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL


def run_due(
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
) -> None:
    """Run the jobs that are due, and exit: with 1 where one has failed. For cron or Kubernetes; several at once do no harm."""
    if one_round(url_of(url, config_of(config, name, x))):
        raise typer.Exit(1)


def one_round(url: URL) -> int:
    """Run what is due, tell it, and say how many have failed."""
    failed = 0
    with runner_on(url) as runner:
        for ran in runner.round():
            typer.echo(str(ran), err=ran.error is not None)
            failed += ran.error is not None
    return failed


def worker(
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    at_once: Annotated[int, typer.Option("--jobs", "-j", min=1, help="How many jobs it runs at once.")] = 1,
) -> None:
    """Run jobs when they are due, until SIGTERM or SIGINT; then those that have begun are brought to their end."""
    server = url_of(url, config_of(config, name, x))
    at_work = Worker(partial(runner_on, server), typer.echo, at_once=at_once)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: at_work.stop())
    with runner_on(server):
        # what stands against it is said at the beginning, and later only that it tries again
        pass
    at_work.run()


@contextmanager
def runner_on(url: URL) -> Iterator[Runner]:
    """Connect what runs jobs."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        try:
            refuse_pooler(Session(connection), keeps_sessions=Settings.of().session_pooler)
            yield Runner(connection)
        except DBAPIError as error:
            raise StatementFailed(server_error(error).sentence) from error
