"""The types of the column by which a table is partitioned: with a modifier, beneath a domain, and at their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from pgopt import InvalidOperation, Monthly
from pgopt.operations import (
    CreateArchiveTable,
    CreatePartitionedTable,
    InstallPgopt,
    ManagePartitions,
    PartitionTable,
    SplitPartition,
)
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
    with pytest.raises(InvalidOperation, match="another instant in each time zone"):
        installed.perform(cut)
