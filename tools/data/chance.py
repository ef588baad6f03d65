"""What all generators draw with: skewed numbers, moments, keys and texts, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# odd, so that no two numbers have the same key
SCRAMBLE = 0x9E3779B97F4A7C15F39CC0605CEDC835
WORDS = (
    "account agent answer app audit batch billing board build button cache call card chart check client code copy crash"
    " customer dashboard data delay deploy draft edit email error event export feature field file filter form goal graph"
    " group help import index invite invoice issue item job key label launch layout limit link list login mail map menu"
    " message model note offer order page panel password plan print problem project query queue quota reply report request"
    " reset role route rule sale search server session share sheet sprint status step style sync tab table tag task team"
    " template test theme ticket token trial update upload user value view webhook week widget workflow workout"
).split()
PHRASES = 1000


@dataclass(frozen=True)
class Table:
    """A table, which columns are filled, and what is in the nth row."""

    name: str
    columns: str
    count: int
    row: Callable[[int], Sequence[Any]]


class Chance(random.Random):
    """Draws for one system, up to a moment."""

    def __init__(self, seed: str, until: datetime) -> None:
        super().__init__(seed)
        self.until = until
        self.short = self._phrases(3, 7)
        self.long = self._phrases(25, 60)

    def _phrases(self, least: int, most: int) -> list[str]:
        return [" ".join(self.choices(WORDS, k=self.randint(least, most))) for _ in range(PHRASES)]

    def below(self, count: int) -> int:
        """Give any number below another."""
        return int(self.random() * count)

    def skewed(self, count: int) -> int:
        """Give a number below another, small ones far more often: a tenth of all have about half of the draws."""
        return int(self.random() ** 3 * count)

    def title(self) -> str:
        """Give a few words."""
        return self.short[self.below(PHRASES)]

    def text(self) -> str:
        """Give some sentences."""
        return self.long[self.below(PHRASES)]

    def ago(self, days: float) -> datetime:
        """Give a moment of the last days, whole seconds, so that some are there twice."""
        return self.until - timedelta(seconds=1 + int(self.random() * days * 86400))

    def lately(self, days: float) -> datetime:
        """Give a moment of the last days, recent ones more often."""
        return self.until - timedelta(seconds=1 + int(self.random() ** 2 * days * 86400))

    def after(self, moment: datetime, days: float) -> datetime:
        """Give a moment after another, but not in the future."""
        return min(self.until, moment + timedelta(seconds=int(self.random() ** 2 * days * 86400)))

    def one_of(self, weights: dict[Any, int]) -> Any:
        """Give one of some values by their weights."""
        return self.choices(list(weights), weights=list(weights.values()))[0]

    def maybe(self, share: float) -> bool:
        """Say yes for a share of all draws."""
        return self.random() < share


def today() -> datetime:
    """Give the beginning of today, up to which data are made where nothing else is said."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def cuid(kind: int, number: int) -> str:
    """Give the key of the nth row of a kind, in the length of a cuid and in no order."""
    return f"c{(number * SCRAMBLE + kind * 7) & (1 << 96) - 1:024x}"


def uuid(kind: int, number: int) -> str:
    """Give the same as a random uuid."""
    text = f"{(number * SCRAMBLE + kind * 7) & (1 << 128) - 1:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def pair(number: int, count: int) -> tuple[int, int]:
    """Give the nth of all pairs of two different numbers below another."""
    one, turn = number % count, number // count
    return one, (one + 1 + turn % (count - 1)) % count
