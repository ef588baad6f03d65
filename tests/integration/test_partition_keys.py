"""The types of the column by which a table is partitioned: with a modifier, beneath a domain, in lists, and at their ends."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import pytest
from sqlalchemy.engine import make_url

from pgopt import IntRange, InvalidOperation, ListOf, Monthly
from pgopt.cli.partitions import look
from pgopt.operations import (
    CreateArchiveTable,
    CreatePartitionedTable,
    InstallPgopt,
    ManagePartitions,
    PartitionTable,
    SplitPartition,
)
from pgopt.server.quoting import literal, render
from tests.databases import names

if TYPE_CHECKING:
    from tests.databases import Database

# the first two are what Prisma and Rails make
KINDS = ["timestamp(3)", "timestamp(6) with time zone", "instant", "moment", "date"]
DOMAINS = "create domain moment as timestamptz(3) check (value > '1900-01-01'); create domain instant as moment;"
LOGS = """
create table logs (id int, at {} not null, primary key (id, at));
insert into logs select g, timestamp '2026-06-01' + g * interval '1 day' from generate_series(0, 80) g;
"""


@pytest.fixture
def installed(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    database.run(DOMAINS)
    return database


def leaves(database: Database, table: str) -> list[str]:
    """The partitions of a table, by name."""
    return names(
        database.rows(f"select relid::regclass::text from pg_partition_tree('{table}') where isleaf order by 1")
    )


def go_on(database: Database, table: str) -> list[tuple[str, ...]]:
    """Have the next partition made, and give what was done."""
    database.perform(ManagePartitions(table, premake=5))
    return database.rows(f"select action, partition from pgopt.maintain_partitions('{table}')")


# -- what they are of -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["copy", "attach"])
def test_a_table_is_partitioned_and_goes_on(installed: Database, kind: str, method: Literal["copy", "attach"]) -> None:
    installed.run(LOGS.format(kind))
    before, rows = installed.dump(), installed.contents()
    operation = PartitionTable("logs", Monthly("at"), method=method, premake=1)
    installed.perform(operation)
    there = leaves(installed, "logs")
    assert ("logs_p202606" if method == "copy" else "logs_phistory") in there
    assert installed.contents() == rows
    made = go_on(installed, "logs")
    assert made
    assert {action for action, _ in made} == {"created"}
    installed.perform(operation.reverse())
    assert installed.contents() == rows
    assert installed.dump() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_table_and_one_of_others_go_on(installed: Database, kind: str) -> None:
    new = CreatePartitionedTable("events", ["id int", f"at {kind}", "primary key (id, at)"], Monthly("at"), premake=1)
    installed.perform(new)
    assert go_on(installed, "events")
    installed.perform(new.reverse())
    installed.run(
        f"""
        create table ours (at {kind} not null) partition by range (at);
        create table ours_p202606 partition of ours for values from ('2026-06-01 00:00+00') to ('2026-07-01 00:00+00');
        """
    )
    assert go_on(installed, "ours")


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_an_archive_has_such_partitions(installed: Database, kind: str) -> None:
    installed.run(LOGS.format(kind))
    installed.perform(CreateArchiveTable("logs", by=Monthly("at"), premake=1))
    assert "logs_archive_p202606" in leaves(installed, "logs_archive")


@pytest.mark.parametrize("kind", ["timestamptz(3)", "instant"])
def test_a_vague_instant_is_refused_of_them_too(installed: Database, kind: str) -> None:
    installed.run(LOGS.format(kind))
    installed.perform(PartitionTable("logs", Monthly("at"), method="attach"))
    cut = SplitPartition("logs", "logs_phistory", at=["2026-07-01"], into=["one", "two"])
    with pytest.raises(InvalidOperation, match="depends on the time zone"):
        installed.perform(cut)


# -- lists ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("date", date(2024, 1, 1), date(2024, 1, 2)),
        ("timestamptz", datetime(2024, 1, 1, 12, tzinfo=UTC), "2024-01-02 12:00+00"),
        ("numeric", Decimal("1.5"), 2),
        ("uuid", UUID(int=1), UUID(int=2)),
        ("boolean", True, False),
        ("text", 1, "it's \\ 2"),
        ("bytea", b"\x00\\", b"2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("method", ["copy", "attach"])
def test_lists_are_of_any_values(
    installed: Database, kind: str, one: object, two: object, method: Literal["copy", "attach"]
) -> None:
    by = ListOf("id", {"one": [one], "two": [two]})
    assert eval(repr(by)) == by
    said = render(literal(by.values["one"][0]))
    installed.run(f"create table listed (id {kind} primary key); insert into listed values ({said})")
    before = installed.dump()
    operation = PartitionTable("listed", by, method=method)
    installed.perform(operation)
    installed.perform(operation)  # as it is there already
    installed.run(f"insert into listed values ({render(literal(by.values['two'][0]))})")
    assert installed.value("select count(*) from listed_ptwo") == 1
    installed.run("delete from listed_ptwo")
    installed.perform(operation.reverse())
    assert installed.dump() == before
    new = CreatePartitionedTable("events", [f"id {kind} primary key"], by)
    installed.perform(new, new)
    assert leaves(installed, "events") == ["events_pone", "events_ptwo"]


class Color(Enum):
    RED = 1


class Word(StrEnum):
    RED = "red"


def test_values_are_kept_as_text() -> None:
    by = ListOf("day", {"a": [date(2024, 1, 1), Color.RED, Word.RED, 1, 1.5, True, b"\x01"]})
    assert by.values == {"a": ("2024-01-01", "RED", "red", "1", "1.5", "true", "\\x01")}
    assert by == ListOf("day", by.values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"a": ["x", None]}, "list 'a' of day has None, which no partition holds: leave it out"),
        ({"a": "DE"}, "list 'a' of day is 'DE': write a list of values"),
        ({"a": []}, "list 'a' of day is []: write a list of values"),
        ({}, "there are no lists of day: say which values each partition holds"),
        ({"a": [object]}, "list 'a' of day has <class 'object'>: write it as text"),
    ],
)
def test_what_is_no_list_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidOperation) as error:
        ListOf("day", values)
    assert str(error.value) == told


# -- where their type ends ------------------------------------------------------------------------------------------------

END = {"smallint": 2**15, "int": 2**31, "bigint": 2**63, "numeric(5)": 10**5, "number": 2**31}


@pytest.fixture
def numbered(installed: Database) -> Database:
    installed.run("create domain number as int")
    return installed


def make_numbers(database: Database, kind: str, *numbers: int) -> None:
    rows = ", ".join(f"({number})" for number in numbers)
    database.run(f"create table numbers (id {kind} primary key, note text); insert into numbers values {rows}")


def bounds(database: Database) -> list[str]:
    """What the partitions of the numbers hold, in their order."""
    asked = (
        "select pg_get_expr(c.relpartbound, c.oid) from pgopt.partitions_of('numbers') p"
        " join pg_class c on c.oid = p.partition order by p.low, p.high"
    )
    return [text.replace("'", "").removeprefix("FOR VALUES FROM ") for text in names(database.rows(asked))]


@pytest.mark.parametrize("kind", END)
def test_the_last_numbers_of_a_type_have_a_partition(numbered: Database, kind: str) -> None:
    end, step = END[kind], END[kind] // 10
    ninth = end // step * step if end % step else end - step
    make_numbers(numbered, kind, ninth - 1)
    before = numbered.dump()
    operation = PartitionTable("numbers", IntRange("id", step=step), premake=3)
    numbered.perform(operation)
    assert bounds(numbered) == [f"({ninth - step}) TO ({ninth})", f"({ninth}) TO (MAXVALUE)"]
    numbered.run(f"insert into numbers values ({ninth}), ({end - 1})")
    assert numbered.rows("select * from pgopt.maintain_partitions()") == []
    numbered.perform(operation.reverse())
    assert numbered.dump() == before


def test_the_first_numbers_of_a_type_have_a_partition(numbered: Database) -> None:
    make_numbers(numbered, "smallint", -(2**15), -31999)
    numbered.perform(PartitionTable("numbers", IntRange("id", step=1000), premake=0))
    assert bounds(numbered) == ["(MINVALUE) TO (-32000)", "(-32000) TO (-31000)"]
    numbered.run("insert into numbers values (-32001)")
    numbered.perform(ManagePartitions("numbers", premake=1))
    made = numbered.rows("select action, detail from pgopt.maintain_partitions()")
    assert made == [("created", "from -31000 to -30000")]


@pytest.mark.parametrize("start", ["-2147483648", "2147480000"])
def test_a_start_near_an_end_is_kept(numbered: Database, start: str) -> None:
    make_numbers(numbered, "int", 2**31 - 1)
    numbered.perform(PartitionTable("numbers", IntRange("id", step=10**9), start=start))
    numbered.run("insert into numbers values (-2147483648)")
    assert bounds(numbered)[0].startswith("(MINVALUE)")
    assert bounds(numbered)[-1] == "(2000000000) TO (MAXVALUE)"


def test_partitions_are_made_up_to_the_end(numbered: Database) -> None:
    make_numbers(numbered, "int", 2145 * 10**6)
    numbered.perform(PartitionTable("numbers", IntRange("id", step=10**6), premake=1))
    numbered.run("insert into numbers values (2146000000)")
    made = "select action, detail from pgopt.maintain_partitions()"
    assert numbered.rows(made) == [("created", "from 2147000000 to MAXVALUE")]
    assert look(make_url(numbered.server.url(numbered.name)), "numbers")[0].headroom == 1483648
    numbered.run("insert into numbers values (2147483647)")
    assert numbered.rows(made) == []


def test_partitions_of_others_go_on_up_to_the_end(numbered: Database) -> None:
    numbered.run(
        "create table numbers (id int primary key) partition by range (id);"
        "create table numbers_old partition of numbers for values from (2145000000) to (2146000000);"
        "insert into numbers values (2145999999)"
    )
    numbered.perform(ManagePartitions("numbers", premake=3))
    made = "select action, detail from pgopt.maintain_partitions()"
    assert numbered.rows(made) == [
        ("created", "from 2146000000 to 2147000000"),
        ("created", "from 2147000000 to MAXVALUE"),
    ]
    assert numbered.rows(made) == []


def test_what_is_at_the_end_is_split_and_merged(numbered: Database) -> None:
    numbered.run(
        "create table numbers (id int primary key) partition by range (id);"
        "create table low partition of numbers for values from (minvalue) to (0);"
        "create table high partition of numbers for values from (1000000000) to (maxvalue);"
        "create table rest partition of numbers default;"
        "insert into numbers values (-2147483648), (-1), (5), (1000000000), (2147483647)"
    )
    before, there = numbered.dump(), numbered.rows("table numbers order by id")
    by = IntRange("id", step=5 * 10**8)
    cuts = [SplitPartition("numbers", each, by=by) for each in ("low", "high", "rest")]
    numbered.perform(*cuts)
    assert numbered.value("select count(*) from pgopt.ranges_of('numbers') where 'MAXVALUE' = any(ends)") == 1
    assert numbered.rows("table numbers order by id") == there
    numbered.perform(*(each.reverse() for each in reversed(cuts)))
    assert numbered.rows("table numbers order by id") == there
    assert numbered.dump() == before


def test_a_default_with_the_last_numbers_is_split(numbered: Database) -> None:
    numbered.run(
        "create table numbers (id int primary key) partition by range (id); create table rest partition of numbers default;"
        "insert into numbers values (-2147483648), (5), (2147483647)"
    )
    numbered.perform(SplitPartition("numbers", "rest", by=IntRange("id", step=10**9)))
    assert numbered.value("select count(*) from rest") == 0
    ends = {tuple(each) for (each,) in numbered.rows("select ends from pgopt.ranges_of('numbers')")}
    assert ends == {("MINVALUE", "-2000000000"), ("0", "1000000000"), ("2000000000", "MAXVALUE")}


@pytest.mark.parametrize("number", [2**31 - 1, 2**31 - 2 * 10**6])
def test_an_attachment_near_the_end_is_refused_in_a_sentence(numbered: Database, number: int) -> None:
    make_numbers(numbered, "int", number)
    with pytest.raises(InvalidOperation, match="its type ends before the next partitions would begin"):
        numbered.perform(PartitionTable("numbers", IntRange("id", step=10**6), method="attach"))


def test_an_attachment_before_the_end_goes_on_to_it(numbered: Database) -> None:
    make_numbers(numbered, "int", -(2**31), 2144 * 10**6)
    numbered.perform(PartitionTable("numbers", IntRange("id", step=10**6), method="attach", premake=3))
    assert bounds(numbered) == ["(MINVALUE) TO (2147000000)", "(2147000000) TO (MAXVALUE)"]


def test_a_new_table_and_an_archive_have_them_too(numbered: Database) -> None:
    make_numbers(numbered, "smallint", 5, 2**15 - 1)
    new = CreatePartitionedTable("short", ["id smallint primary key"], IntRange("id", step=20000), premake=3)
    numbered.perform(new, CreateArchiveTable("numbers", by=IntRange("id", step=20000), premake=3))
    numbered.run("insert into short values (32767)")
    assert leaves(numbered, "short") == ["short_p0", "short_p20000"]
    assert leaves(numbered, "numbers_archive") == [
        "numbers_archive_p0",
        "numbers_archive_p20000",
        "numbers_archive_pdefault",
    ]
