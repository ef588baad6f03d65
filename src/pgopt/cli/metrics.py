"""`pgopt metrics`: the figures of `pgopt health` for Prometheus, as text or by HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy.exc import DBAPIError

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, url_of
from pgopt.errors import PgoptError
from pgopt.monitoring.checks import reading
from pgopt.server.session import Session

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric
    from sqlalchemy.engine import URL

NEEDS = "metrics need prometheus-client: pip install 'pgopt[metrics]'"


def metrics(
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    port: Annotated[int | None, typer.Option(help="Answer by HTTP on this port until Ctrl-C; else print once.")] = None,
    address: Annotated[str, typer.Option(help="With --port: where to listen.")] = "127.0.0.1",
) -> None:
    """Give the figures of the database in the text format of Prometheus. Nothing is changed."""
    found = registry(url_of(url, config_of(config, name, x)))
    if port is None:
        from prometheus_client import generate_latest

        typer.echo(generate_latest(found).decode(), nl=False)
    else:
        serve(found, port, address)


def registry(url: URL) -> CollectorRegistry:
    """Make a registry that asks the database whenever it is asked."""
    try:
        from prometheus_client import CollectorRegistry

        from pgopt.monitoring.metrics import Collected
    except ImportError as error:
        raise PgoptError(NEEDS) from error
    found = CollectorRegistry()
    found.register(Collected(lambda: measure(url)))
    return found


def measure(url: URL) -> list[Metric]:
    """Measure a database; one that is away is told as pgopt_up 0, so that a watcher can tell it from silence."""
    from prometheus_client.core import GaugeMetricFamily

    from pgopt.monitoring.metrics import metrics as measured

    try:
        with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
            session = Session(connection)
            with reading(session):
                found = list(measured(session))
    except (PgoptError, DBAPIError):
        found = []
    return [GaugeMetricFamily("pgopt_up", "Whether the database could be asked.", value=bool(found)), *found]


def serve(found: CollectorRegistry, port: int, address: str) -> None:
    """Answer by HTTP until an interruption."""
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, address, found)
    except OSError as error:
        raise PgoptError(f"nobody can listen on {address}:{port}: {error}") from error
    typer.echo(f"figures are at http://{address}:{server.server_port}/metrics", err=True)
    try:
        thread.join()
    except KeyboardInterrupt:
        server.shutdown()
    finally:
        server.server_close()
