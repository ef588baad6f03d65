"""Promise 1: up, then down, and the schema is what it was, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.examples import Example
    from tests.databases import Database


def test_down_gives_back_what_was_there(prepared: Database, example: Example) -> None:
    if not example.reversible:
        pytest.skip("an action has no inverse")
    before, rows = prepared.dump(), prepared.contents()
    prepared.perform(example.operation)
    assert prepared.dump() != before, "the operation changed nothing"
    prepared.perform(example.operation.reverse())  # type: ignore[attr-defined]
    assert prepared.dump() == before
    assert prepared.contents() == rows
