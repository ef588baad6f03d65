"""The `pgopt` command; it needs typer and rich, which come with the extra `cli`."""

from __future__ import annotations

import sys

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from pgopt.server.session import server_error

USAGE = 64
"""The exit code of sysexits.h for a command that is used wrongly."""


def main() -> None:
    """Run the command."""
    try:
        import rich  # noqa: F401
        import typer
    except ImportError:
        sys.stderr.write("pgopt: the command line needs typer and rich: pip install 'pgopt[cli]'\n")
        raise SystemExit(USAGE) from None
    from pgopt.cli import explain, health, jobs, metrics, partitions, plan, restore, retention, undo, verify, worker

    app = typer.Typer(
        help="What Alembic cannot do with online operations: look before, undo what was interrupted, and see how a database is.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    # -1 is a revision, as for alembic
    app.command("plan", context_settings={"ignore_unknown_options": True})(plan.plan)
    app.command("undo")(undo.undo)
    app.command("health")(health.health)
    app.command("metrics")(metrics.metrics)
    app.command("explain")(explain.explain)
    app.command("partitions")(partitions.partitions)
    app.command("retention")(retention.retention)
    app.command("restore")(restore.restore)
    app.command("verify")(verify.verify)
    app.command("jobs")(jobs.jobs)
    app.command("run-due")(worker.run_due)
    app.command("worker")(worker.worker)
    try:
        app(prog_name="pgopt")
    except CommandError as error:
        sys.stderr.write(f"pgopt: {error}\n")
        raise SystemExit(1) from None
    except PendingRollbackError:
        # SQLAlchemy has lost the connection within a savepoint
        sys.stderr.write("pgopt: the connection to the server was lost: run again\n")
        raise SystemExit(1) from None
    except DBAPIError as error:
        sys.stderr.write(f"pgopt: {server_error(error).sentence}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
