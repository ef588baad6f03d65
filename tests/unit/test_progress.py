"""Progress as lines, and as a bar at a terminal."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from pgopt.plan import events as e
from pgopt.plan.bars import Bars
from pgopt.plan.progress import Lines, duration
from pgopt.server.locks import Blocker

if TYPE_CHECKING:
    from pgopt.plan.events import Event

REPORT = Blocker(4711, "ana", "report [daily]", "idle in transaction", 61.0, "select 1")
BUILD = "build ix_big on public.big"
SCANNING = e.StepProgress(BUILD, "scanning table", 1200, 4800, "blocks")
LOADING = e.StepProgress(BUILD, "loading tuples", 0, 0, "blocks")
WAITING = e.StepProgress(BUILD, "waiting for old snapshots", 0, 2, "sessions", [REPORT])


class Screen:
    """A terminal in memory; what is written there since the last look."""

    def __init__(self) -> None:
        self.written = io.StringIO()
        self.console = Console(file=self.written, force_terminal=True, width=100, color_system=None)
        self.bars = Bars(self.console)

    def after(self, *happened: Event) -> str:
        """Tell events, and give what the screen was sent."""
        self.written.seek(0)
        self.written.truncate()
        for event in happened:
            self.bars(event)
        if self.bars.bar is not None:
            self.bars.bar.live.refresh()
        return self.written.getvalue()


@pytest.fixture
def screen() -> Screen:
    return Screen()


def test_one_line_for_each_finished_step(screen: Screen) -> None:
    seen = screen.after(
        e.OperationStarted("create_index_concurrently ix_big on big", 2),
        e.StepStarted(BUILD),
        e.StepFinished(BUILD, 0.25),
        e.StepSkipped("comment on ix_big"),
    )
    assert seen.splitlines() == [
        "create_index_concurrently ix_big on big",
        "  build ix_big on public.big: 250 ms",
        "  comment on ix_big: done already",
    ]


def test_the_bar_says_phase_and_percentage_and_whom_it_waits_for(screen: Screen) -> None:
    seen = screen.after(SCANNING)
    assert f"{BUILD}: scanning table" in seen
    assert " 25% 1,200 of 4,800 blocks" in seen
    seen = screen.after(WAITING)
    assert f"{BUILD}: waiting for old snapshots" in seen
    assert "waiting for pid 4711 ana (report [daily]), idle in transaction, transaction open for 61.0 s" in seen
    assert "4,800" not in seen.rpartition("waiting for old snapshots")[2], "the last phase's numbers are gone"
    seen = screen.after(LOADING)
    assert "pid 4711" not in seen.rpartition("loading tuples")[2]
    assert "%" not in seen.rpartition("loading tuples")[2], "nobody knows how far it is"


@pytest.mark.parametrize("end", [e.StepFinished(BUILD, 3.0), e.StepFailed(BUILD)])
def test_the_bar_goes_when_the_step_ends(screen: Screen, end: Event) -> None:
    screen.after(SCANNING)
    seen = screen.after(end)
    assert screen.bars.bar is None
    shown_again = "\x1b[?25h"
    assert shown_again in seen, "the cursor is visible again"
    erased = "\x1b[2K"
    last_erasure = seen.rindex(erased)
    assert "scanning table" not in seen[last_erasure:]
    assert f"{BUILD}: " in seen[last_erasure:], "the step's line stands where the bar was"


def test_lines_above_the_bar_do_not_garble_it(screen: Screen) -> None:
    screen.after(SCANNING)
    seen = screen.after(e.Retrying(BUILD, 1, 3, 0.5, [REPORT]))
    line = seen.index("attempt 1 of 3 was in vain")
    assert "\x1b[2K" in seen[:line], "the bar is taken away first"
    assert " 25% " in seen[line:], "and drawn again below"
    screen.after(e.StepFinished(BUILD, 1.0))


def test_a_pause_of_batches_stands_below_the_bar(screen: Screen) -> None:
    screen.after(e.StepProgress("backfill big", "rows", 500, 1000, "rows"))
    assert "a standby is late, waiting 2.0 s" in screen.after(e.Throttled("backfill big", "a standby is late", 2.0))
    screen.after(e.StepFinished("backfill big", 1.0))


def test_lines_are_logged_where_every_alembic_ini_shows_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "alembic")
    lines = Lines()
    for event in (e.OperationStarted("op", 1), SCANNING, e.Retrying(BUILD, 1, 3, 0.5, []), e.StepFinished(BUILD, 3.0)):
        lines(event)
    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [
        ("alembic.pgopt", "INFO", "op"),
        ("alembic.pgopt", "WARNING", f"  {BUILD}: attempt 1 of 3 was in vain, again in 0.5 s"),
        ("alembic.pgopt", "INFO", f"  {BUILD}: 3.0 s"),
    ]


def test_why_batches_wait_is_seen_by_all_and_not_each_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "alembic")
    lines = Lines()
    for seconds in range(5):
        lines(e.Throttled("backfill big", f"standby b is {seconds} s behind", 1.0))
    lines(e.WaitingForRunner("public.big", None))
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "  backfill big: standby b is 0 s behind, waiting 1.0 s"),
        ("WARNING", "  waiting for another pgopt run on public.big"),
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0421, "42 ms"), (1.25, "1.2 s"), (119.9, "119.9 s"), (125, "2 min 5 s"), (7380, "2 h 3 min")],
)
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said
