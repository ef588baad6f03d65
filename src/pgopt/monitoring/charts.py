"""Charts as SVG that stands in a page: no script, and colours that the page's style gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WIDTH, HEIGHT = 340, 150
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 22


@dataclass(frozen=True)
class Point:
    """What was measured when; nothing where it is not known."""

    at: float
    value: float | None
    reset: bool = False
    """Whether counters were reset before it, so that it is at least this."""


@dataclass(frozen=True)
class Line:
    """What is drawn: points in the order of time, and how their values are said."""

    title: str
    points: Sequence[Point]
    say: Callable[[float], str]
    from_nothing: bool = True
    """Whether the scale begins at nothing; sizes that hardly move would be flat there."""
    bytes: bool = False
    """Whether round numbers are those of bytes."""

    @property
    def known(self) -> Sequence[Point]:
        """The points that have a value."""
        return [point for point in self.points if point.value is not None]

    def draw(self) -> Markup:
        """Draw it, with the value of each point where a mouse rests."""
        if len(self.known) < 2:
            return Markup('<p class="quiet">Not enough snapshots yet.</p>')
        scale = _Scale.of(self)
        parts = [*self._grid(scale), *self._resets(scale), *self._strokes(scale), *self._dots(scale)]
        return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, HEIGHT, self._told(), Markup("").join(parts)
        )

    def _told(self) -> str:
        values = [point.value or 0.0 for point in self.known]
        return f"{self.title}: {self.say(values[0])} to {self.say(values[-1])}, at most {self.say(max(values))}"

    def _grid(self, scale: _Scale) -> Iterator[Markup]:
        for value in scale.ticks:
            y = scale.y(value)
            yield Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, y, y
            )
            yield _text(LEFT - 6, y + 3.5, self.say(value), "end")
        yield _text(LEFT, HEIGHT - 6, moment(scale.first), "start")
        yield _text(WIDTH - RIGHT, HEIGHT - 6, moment(scale.last), "end")

    def _resets(self, scale: _Scale) -> Iterator[Markup]:
        for point in self.points:
            if point.reset:
                yield Markup(
                    '<line class="reset" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"><title>counters were reset</title></line>'
                ).format(scale.x(point.at), TOP, HEIGHT - BOTTOM)

    def _strokes(self, scale: _Scale) -> Iterator[Markup]:
        for stretch in _stretches(self.points):
            places = " ".join(f"{scale.x(at):.1f},{scale.y(value):.1f}" for at, value in stretch)
            yield Markup('<polyline class="line" points="{}"/>').format(places)

    def _dots(self, scale: _Scale) -> Iterator[Markup]:
        for point in self.known:
            yield Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="5"><title>{}: {}</title></circle>').format(
                scale.x(point.at), scale.y(point.value or 0.0), moment(point.at), self.say(point.value or 0.0)
            )


@dataclass(frozen=True)
class _Scale:
    """Where a time and a value are in the picture."""

    first: float
    last: float
    low: float
    high: float
    step: float

    @classmethod
    def of(cls, line: Line) -> _Scale:
        values = [point.value or 0.0 for point in line.known]
        least = 0.0 if line.from_nothing else min(values)
        span = (max(values) - least) or abs(max(values)) or 1.0
        unit = 1024.0 ** max(0, math.floor(math.log(span, 1024))) if line.bytes else 1.0
        step = unit * _round_step(span / unit)
        low = math.floor(least / step) * step
        high = max(math.ceil(max(values) / step) * step, low + step)
        return cls(line.points[0].at, line.points[-1].at, low, high, step)

    @property
    def ticks(self) -> Sequence[float]:
        return [self.low + number * self.step for number in range(round((self.high - self.low) / self.step) + 1)]

    def x(self, at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self.first) / ((self.last - self.first) or 1)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)


def bar(parts: Sequence[tuple[str, float]], whole: float) -> Markup:
    """Draw what something is made of as one bar, as long as its share of the largest."""
    drawn, x = [], 0.0
    for kind, value in parts:
        width = 100 * value / whole if whole else 0
        drawn.append(Markup('<rect class="{}" x="{:.2f}" width="{:.2f}" height="8"/>').format(kind, x, width))
        x += width
    return Markup('<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{}</svg>').format(
        Markup("").join(drawn)
    )


def moment(at: float) -> str:
    """Say a time, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%d %b %H:%M}"


def _text(x: float, y: float, said: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, said)


def _round_step(span: float) -> float:
    """Give a round number of which about three make the span."""
    unit: float = 10 ** math.floor(math.log10(span / 3))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= span / 3 * 0.99)


def _stretches(points: Sequence[Point]) -> Iterator[list[tuple[float, float]]]:
    """Give what may be joined by a line: not over what is not known."""
    stretch: list[tuple[float, float]] = []
    for point in points:
        if point.value is not None:
            stretch.append((point.at, point.value))
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch
