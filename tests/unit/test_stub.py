"""What is generated from the operations says what they are now."""

from __future__ import annotations

from pgopt import operations
from pgopt.operations.kinds import KINDS as KINDS_NOW
from tools.write_stub import KINDS, STUB, kinds, stub


def test_stub_is_current() -> None:
    assert STUB.read_text() == stub(), "run `make stub`"


def test_table_of_kinds_is_current() -> None:
    assert KINDS.read_text() == kinds(), "run `make stub`"


def test_every_operation_is_public() -> None:
    bases = {"Action", "Operation", "StateOperation"}
    assert operations.__all__ == sorted(bases | {kind for _, kind in KINDS_NOW.values()})
