"""The .sql files that pgopt ships."""

from __future__ import annotations

from pathlib import Path

import pytest

import pgopt

FILES = sorted(Path(pgopt.__file__).parent.rglob("*.sql"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_can_be_sent_to_a_database_of_any_encoding(file: Path) -> None:
    assert file.read_bytes().isascii()
