"""No operation goes without examples."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter

import pytest

from pgopt.directives import kind_of
from pgopt.operations.kinds import KINDS
from tests.contract import examples
from tests.contract.examples import EXAMPLES, Example

FAMILIES = [module.name for module in pkgutil.iter_modules(examples.__path__) if module.name != "base"]


ELSEWHERE = {"use_pg_cron", "leave_pg_cron"}
"""What needs a server of its own, with pg_cron loaded: tests/integration/test_pg_cron.py."""


@pytest.mark.parametrize("directive", sorted(KINDS.keys() - ELSEWHERE))
def test_each_operation_has_an_example(directive: str) -> None:
    shown = [example for example in EXAMPLES if type(example.operation) is kind_of(directive)]
    assert shown, f"{directive} has no example in tests/contract/examples"


def test_names_are_unique() -> None:
    assert [name for name, count in Counter(map(str, EXAMPLES)).items() if count > 1] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_three_of_each_family_are_named(family: str) -> None:
    of_family: list[Example] = importlib.import_module(f"{examples.__name__}.{family}").EXAMPLES
    assert len([example for example in of_family if example.named]) == 3


def test_writers_are_at_work_in_most_examples() -> None:
    assert len([example for example in EXAMPLES if example.writes]) > len(EXAMPLES) * 0.8
