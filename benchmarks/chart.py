"""A chart of pairs of bars on a logarithmic scale, as SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LEFT, RIGHT, TOP, ROW, BAR = 270, 150, 64, 34, 11
WIDTH = 900
BEFORE, AFTER, INK, GRID, PAPER = "#b9c0c8", "#2f6f9f", "#222b33", "#e3e7eb", "#ffffff"


@dataclass(frozen=True)
class Pair:
    """What took how long before and after, and how many times faster it was said to become."""

    name: str
    before: float
    after: float
    goal: float | None = None


def draw(pairs: Sequence[Pair], title: str) -> str:
    """Draw the pairs below each other."""
    low = 10 ** math.floor(math.log10(min(min(each.before, each.after) for each in pairs)))
    high = 10 ** math.ceil(math.log10(max(max(each.before, each.after) for each in pairs)))
    height = TOP + ROW * len(pairs) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        _text(16, 24, "Slow queries before and after, milliseconds", size=15),
        _text(16, 44, title),
        *_axis(low, high, height),
        *(line for row, each in enumerate(pairs) for line in _pair(each, TOP + ROW * row, low, high)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _axis(low: float, high: float, height: int) -> Iterator[str]:
    value = low
    while value <= high:
        x = _x(value, low, high)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - 28}" stroke="{GRID}"/>'
        yield _text(x, height - 12, f"{value:g}", anchor="middle")
        value *= 10


def _pair(pair: Pair, y: float, low: float, high: float) -> Iterator[str]:
    yield _text(LEFT - 10, y + BAR + 4, pair.name, anchor="end")
    for number, (value, colour) in enumerate(((pair.before, BEFORE), (pair.after, AFTER))):
        end = max(_x(value, low, high), LEFT + 1)
        yield f'<rect x="{LEFT}" y="{y + number * BAR}" width="{end - LEFT:.1f}" height="{BAR - 1}" fill="{colour}"/>'
    claimed = f" ({pair.goal:g} claimed)" if pair.goal else ""
    yield _text(WIDTH - RIGHT + 10, y + BAR + 4, f"{pair.before / pair.after:,.1f}x{claimed}")


def _x(value: float, low: float, high: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / low) / math.log(high / low)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{INK}">{escape(text)}</text>'
