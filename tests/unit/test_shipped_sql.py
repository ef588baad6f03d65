"""The .sql files that pgopt ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pgopt

FILES = sorted(Path(pgopt.__file__).parent.rglob("*.sql"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_can_be_sent_to_a_database_of_any_encoding(file: Path) -> None:
    assert file.read_bytes().isascii()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_means_the_same_where_strings_do_not_conform_to_the_standard(file: Path) -> None:
    """Under `standard_conforming_strings = off` a backslash in a plain literal is another thing."""
    functions = file.read_text().split("\ncreate ")
    plain = "".join(each for each in functions if "set standard_conforming_strings = on" not in each)
    assert "\\" not in re.sub(r"\be'(?:[^'\\]|\\.|'')*'", "", plain)
