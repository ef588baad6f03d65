"""Runs the jobs that are due, one at a time, on a connection of its own.

What a session claims is its own while it holds an advisory lock, so that a killed runner's claim is free again as soon as the
server knows. All that decides which job is due, and when it is due again, is in the database.
"""

from __future__ import annotations

import math
import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from pgopt.errors import INSTALL, NotInstalled
from pgopt.server.quoting import literal, sql
from pgopt.server.session import Session, server_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

READ_COMMITTED = "set default_transaction_isolation = 'read committed'"
"""So that a claim sees what another runner has just written, whatever is said for the role or the database."""
LOST = "the connection was lost"


@dataclass(frozen=True)
class Ran:
    """How a job went."""

    job: str
    seconds: float
    error: str | None

    def __str__(self) -> str:
        how = "succeeded" if self.error is None else f"failed: {self.error}"
        return f"{self.job}: {how} ({self.seconds:.1f} s)"


class Runner:
    """A connection in autocommit that runs jobs."""

    def __init__(self, connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        if hasattr(driver, "prepare_threshold"):
            # a command may be several statements, which cannot be prepared
            driver.prepare_threshold = None
        self.session = Session(connection)
        self.session.run(READ_COMMITTED)
        self.name = f"{socket.gethostname()} {os.getpid()}"
        if self.session.value("select to_regclass('pgopt.job')") is None:
            raise NotInstalled(f"jobs are kept in the pgopt schema, which is not there: add `{INSTALL}` to a revision")

    def round(self) -> Iterator[Ran]:
        """Run what is due now, and not what becomes due meanwhile."""
        now = self.session.value("select clock_timestamp()::text")
        while self.session.alive and (ran := self.next(now)) is not None:
            yield ran

    def next(self, until: str | None = None) -> Ran | None:
        """Run one job that is due, or was at a moment; where there is none, or others are at work on it, give nothing."""
        claim = sql(
            "select run, job, command, extract(epoch from time_limit)::float8 from pgopt.claim_job({}, {}::timestamptz)",
            literal(self.name),
            literal(until),
        )
        if (row := self.session.row(claim)) is None:
            return None
        run, job, command, limit = row
        begun = time.monotonic()
        error = self._run(job, command, limit)
        if self.session.alive:
            self.session.value(sql("select pgopt.finish_job({}, {})", literal(run), literal(error)))
            # lets go of the claim, now that it is written down that the job is not due any more
            self.session.run("discard all", READ_COMMITTED)
        return Ran(job, time.monotonic() - begun, error)

    def pause(self, longest: float) -> float:
        """Say for how many seconds nothing will be due; what others are at work on is looked at again."""
        due = self.session.value(
            "select extract(epoch from min(coalesce(retry_at, next_due)) - clock_timestamp())::float8 from pgopt.job"
            " where enabled and coalesce(retry_at, next_due) > clock_timestamp()"
        )
        return longest if due is None else min(max(due, 0.0), longest)

    def _run(self, job: str, command: str, limit: float | None) -> str | None:
        """Send a command as it is, and give what the server has against it."""
        timeout = "0" if limit is None else f"{math.ceil(limit * 1000)}ms"
        try:
            with self._own_settings({"application_name": f"pgopt job {job}", "statement_timeout": timeout}):
                self.session.run(command)
                if not self.session.idle:
                    return "the command has left a transaction open, which was rolled back"
        except DBAPIError as error:
            return server_error(error).sentence if self.session.alive else LOST
        return None

    @contextmanager
    def _own_settings(self, settings: dict[str, str]) -> Iterator[None]:
        """Undo for the session what a command does to it; its claim stays."""
        self.session.set(settings)
        self.session.run("reset default_transaction_isolation")
        try:
            yield
        finally:
            if self.session.alive:
                if not self.session.idle:
                    self._roll_back()
                self.session.run("set session authorization default", "reset all", READ_COMMITTED)

    def _roll_back(self) -> None:
        try:
            self.session.run("rollback")
        except DBAPIError:
            # in the middle of a COPY the driver sends nothing any more
            self.session.connection.invalidate()
            raise
