"""The data of the reference chain are the same for the same seed, and skewed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from tools.data import SYSTEMS
from tools.data.chance import Chance, cuid, pair, uuid

DAY = datetime(2026, 1, 31, tzinfo=UTC)


def made(system: str, seed: int, rows: int = 500) -> dict[str, list[Any]]:
    """All rows that would be copied."""
    tables = SYSTEMS[system](rows, Chance(f"{system} {seed}", DAY))
    return {table.name: [table.row(number) for number in range(table.count)] for table in tables}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_same_seed_makes_the_same_data(system: str) -> None:
    assert made(system, 1) == made(system, 1) != made(system, 2)


@pytest.mark.parametrize("system", SYSTEMS)
def test_there_are_about_as_many_rows_as_are_asked_for(system: str) -> None:
    tables = SYSTEMS[system](100_000, Chance("", DAY))
    assert 90_000 <= sum(table.count for table in tables) <= 130_000
    assert all(table.count for table in tables)


def test_few_have_most() -> None:
    chance = Chance("", DAY)
    drawn = Counter(chance.skewed(100) for _ in range(10_000))
    assert sum(drawn[number] for number in range(10)) > 4_000
    assert len(drawn) > 95


def test_keys_are_there_once() -> None:
    assert len({cuid(kind, number) for kind in range(3) for number in range(10_000)}) == 30_000
    assert len({uuid(kind, number) for kind in range(3) for number in range(10_000)}) == 30_000
    pairs = {pair(number, 20) for number in range(20 * 19)}
    assert len(pairs) == 20 * 19
    assert all(one != other for one, other in pairs)
