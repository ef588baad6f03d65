"""Promise 1: up, then down, and the schema is what it was, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.operations import CreateIndexConcurrently
from tests.contract.conftest import differences, over, schema_of, write

if TYPE_CHECKING:
    from tests.contract.examples import Example
    from tests.databases import Database


def indexes(database: Database) -> list[tuple[str, str]]:
    """All indexes of the application, as the server writes them."""
    return [
        (name, definition)
        for name, definition in database.rows(
            "select c.oid::text, pg_get_indexdef(c.oid) from pg_class c"
            " where c.relkind in ('i', 'I') and c.oid >= 16384 and c.relnamespace <> 'pg_toast'::regnamespace order by c.oid"
        )
    ]


@over(lambda example: example.reversible)
def test_down_gives_back_what_was_there_and_up_again_what_came(prepared: Database, example: Example) -> None:
    before, rows = schema_of(prepared, example), prepared.contents()
    prepared.perform(example.operation)
    after = schema_of(prepared, example)
    assert after != before, "the operation changed nothing"
    prepared.perform(*example.inverse)
    assert schema_of(prepared, example) == before
    assert differences(prepared.contents(), rows) == []
    prepared.perform(example.operation)
    assert schema_of(prepared, example) == after


@over(lambda example: example.reversible and bool(example.writes))
def test_down_is_right_after_new_rows(prepared: Database, example: Example) -> None:
    before, there = schema_of(prepared, example), prepared.columns()
    prepared.perform(example.operation)
    # a table or column that comes or goes is the operation's own
    common = {
        table: sorted(name for name in names if name in there.get(table, names))
        for table, names in prepared.columns().items()
    }
    own = there.keys() ^ common.keys()
    rows = prepared.contents(common)
    write(prepared, example, times=10)
    written = without(own, prepared.contents(common))
    assert differences(written, without(own, rows)), "nothing was written"
    prepared.perform(*example.inverse)
    assert schema_of(prepared, example) == before
    left = without(own, prepared.contents(common))
    assert differences(*((together(left), together(written)) if example.moves else (left, written))) == []


def without(names: set[str], contents: dict[str, list[str]]) -> dict[str, list[str]]:
    """What is in all tables but some."""
    return {table: rows for table, rows in contents.items() if table not in names}


def together(contents: dict[str, list[str]]) -> dict[str, list[str]]:
    """All rows, whichever table they are in."""
    return {"all": [row for rows in contents.values() for row in rows]}


# where one partition has an equal index, PostgreSQL itself takes that into the tree of one made by hand
@over(
    lambda example: (
        isinstance(example.operation, CreateIndexConcurrently) and example.name != "one partition has an equal index"
    )
)
def test_equal_index_made_by_hand_is_its_own(prepared: Database, example: Example) -> None:
    before, there = schema_of(prepared, example), indexes(prepared)
    prepared.perform(example.operation)
    made = [definition for oid, definition in indexes(prepared) if (oid, definition) not in there]
    prepared.perform(*example.inverse)
    # on a partitioned table that makes the indexes of its partitions, too, under names of the server's own
    prepared.run(made[0].replace(" ON ONLY ", " ON "))
    by_hand = indexes(prepared)
    prepared.perform(example.operation)
    assert indexes(prepared) == by_hand
    prepared.perform(*example.inverse)
    assert schema_of(prepared, example) == before
