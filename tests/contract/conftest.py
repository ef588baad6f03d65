"""A database for each example, as it was before its operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.examples import EXAMPLES, Example

if TYPE_CHECKING:
    from tests.databases import Database


@pytest.fixture(params=EXAMPLES, ids=str)
def example(request: pytest.FixtureRequest, major: int) -> Example:
    """Each example in turn."""
    found: Example = request.param
    if major < found.since:
        pytest.skip(f"needs PostgreSQL {found.since}")
    return found


@pytest.fixture
def prepared(database: Database, example: Example) -> Database:
    """The example's database."""
    prepare(database, example)
    return database


def prepare(database: Database, example: Example) -> None:
    """Bring a database to where the example begins."""
    database.run(example.setup)
    database.perform(*example.before)
