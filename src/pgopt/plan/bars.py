"""Progress at a terminal: a line for each thing that happened, and below them a bar for what goes on."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from pgopt.plan import events as e
from pgopt.plan.progress import text_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pgopt.plan.events import Event

STYLES = {
    e.OperationStarted: "bold",
    e.Note: "yellow",
    e.Retrying: "yellow",
    e.Throttled: "yellow",
    e.WaitingForRunner: "yellow",
    e.StepFailed: "red",
}


class Bars:
    """Shows events on standard error, for somebody who looks at it; events may come from several threads."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.lock = Lock()
        self.bar: Bar | None = None

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self.lock:
            match event:
                case e.StepProgress():
                    self.bar = self.bar or Bar(self.console)
                    self.bar.show(event)
                case e.Throttled() if self.bar is not None:
                    self.bar.below = [f"{event.reason}, waiting {event.wait:.1f} s"]
                case _:
                    self._line(event)

    def _line(self, event: Event) -> None:
        if self.bar is not None and isinstance(event, e.StepFinished | e.StepFailed):
            self.bar.remove()
            self.bar = None
        if (line := text_of(event)) is not None:
            self.console.print(Text(line, STYLES.get(type(event), "")), soft_wrap=True)


class Bar:
    """What goes on at the moment: the step and its phase, how far it is, and whom it waits for."""

    def __init__(self, console: Console) -> None:
        self.phase = ""
        self.title = ""
        self.below: list[str] = []
        self.progress = Progress(
            TextColumn(" "),
            BarColumn(),
            TaskProgressColumn(text_format_no_percentage=""),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.progress.add_task("", total=None, amount="")
        self.live = Live(console=console, get_renderable=self._picture, transient=True)
        self.live.start()

    def show(self, event: e.StepProgress) -> None:
        """Show how far a step is; each phase begins anew, and so does the guess at the time that it takes."""
        if event.phase != self.phase:
            self.progress.remove_task(self.task)
            self.task = self.progress.add_task("", total=event.total or None, amount="")
        self.phase, self.title = event.phase, f"  {event.label}: {event.phase}"
        self.below = [f"waiting for {blocker}" for blocker in event.blockers]
        if event.total:
            amount = f"{event.done:,} of {event.total:,} {event.unit}"
            self.progress.update(self.task, total=event.total, completed=event.done, amount=amount)

    def remove(self) -> None:
        """Leave nothing of it on the screen."""
        self.live.stop()

    def _picture(self) -> RenderableType:
        lines = [self.title, *(f"    {line}" for line in self.below)]
        first, *others = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        return Group(first, self.progress, *others)
