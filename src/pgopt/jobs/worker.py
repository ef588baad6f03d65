"""Goes on running jobs until it is told to stop."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

from pgopt.errors import PgoptError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pgopt.jobs.runner import Runner

LOOK_AGAIN = 5.0
"""The longest time without a look, in seconds: a new job, or one whose runner was killed, waits no longer."""


class Worker:
    """Some threads, each with a connection of its own, that run jobs; one job at a time each.

    On a standby it waits until that is promoted. When the server is away it tries again.
    """

    def __init__(
        self, connect: Callable[[], AbstractContextManager[Runner]], tell: Callable[[str], None], *, at_once: int = 1
    ) -> None:
        self.connect = connect
        self.tell = tell
        self.stopping = Event()
        self.threads = [Thread(target=self._work, name=f"pgopt job {number}", daemon=True) for number in range(at_once)]

    def run(self) -> None:
        """Work until `stop`; a job that has begun is brought to its end."""
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            while thread.is_alive():
                # in short waits, since signals are handled between them
                thread.join(1.0)

    def stop(self) -> None:
        """Begin no more jobs."""
        self.stopping.set()

    def _work(self) -> None:
        while not self.stopping.is_set():
            try:
                with self.connect() as runner:
                    self._run(runner)
            except PgoptError as error:
                self._wait_for_server(str(error))
            except Exception as error:  # noqa: BLE001  -- whatever a command has done, the other jobs are to be run
                self._wait_for_server(f"{type(error).__name__}: {error}")

    def _run(self, runner: Runner) -> None:
        while not self.stopping.is_set() and runner.session.alive:
            ran = runner.next()
            if ran is not None:
                self.tell(str(ran))
            else:
                self.stopping.wait(runner.pause(LOOK_AGAIN))

    def _wait_for_server(self, why: str) -> None:
        self.tell(f"{why}; trying again in {LOOK_AGAIN:g} s")
        self.stopping.wait(LOOK_AGAIN)
