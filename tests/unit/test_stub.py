"""The generated stub says what the operations take."""

from __future__ import annotations

from tools.write_stub import TARGET, stub


def test_stub_is_current() -> None:
    assert TARGET.read_text() == stub(), "run `make stub`"
