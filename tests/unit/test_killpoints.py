"""A run that kills less often than before fails, with one process and with many."""

from __future__ import annotations

from collections import Counter

from tests.contract.killpoints import LEAST, SEED, Tally


def test_workers_are_added_up() -> None:
    whole = Tally()
    for told in (Tally(Counter(a=2), 2, complete=True).told(), Tally(Counter(a=1, b=LEAST), LEAST).told()):
        whole.add(told)
    assert (whole.points, whole.named) == (Counter(a=3, b=LEAST), LEAST + 2)
    assert not whole.too_few
    assert whole.lines() == [f"{LEAST + 3} kill points in 2 examples, PGOPT_KILL_SEED={SEED}"]


def test_fewer_than_there_were_are_too_few() -> None:
    fewer = Tally(Counter(a=LEAST), LEAST - 1, complete=True)
    assert fewer.too_few
    assert fewer.lines()[1] == f"FAILED: {LEAST - 1} kill points of the named examples, and there were {LEAST}"


def test_a_part_of_the_examples_says_nothing() -> None:
    assert not Tally(Counter(a=1), 1).too_few
    assert Tally().lines() == []
