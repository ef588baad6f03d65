"""Rules and publications by which what an operation writes would do nothing, or be refused halfway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation
from pgopt.errors import StatementFailed
from pgopt.operations import (
    AddColumnOnline,
    Backfill,
    CreateRetentionPolicy,
    DenormalizeColumns,
    InstallPgopt,
    Operation,
)

if TYPE_CHECKING:
    from tests.databases import Database

TABLES = """
create table parents (id int primary key, name text);
create table "Some rows" (id int primary key, parent int references parents, at timestamptz, n int);
insert into parents values (1, 'a'); insert into "Some rows" select g, 1, '2020-01-01' from generate_series(1, 20) g;
create rule "no more" as on {event} to "Some rows" do instead nothing;
"""


@pytest.fixture
def rows(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    return database


@pytest.mark.parametrize(
    "operation",
    [
        Backfill("Some rows", set={"n": "id"}),
        AddColumnOnline("Some rows", "key", "uuid", default="gen_random_uuid()", nullable=False),
        DenormalizeColumns("Some rows", source="parents", on={"parent": "id"}, columns={"parent_name": "name"}),
    ],
    ids=lambda operation: operation.directive,
)
def test_a_table_whose_rows_cannot_be_updated_is_refused(rows: Database, operation: Operation) -> None:
    rows.run(TABLES.format(event="update"))
    before = rows.dump()
    with pytest.raises(InvalidOperation, match=r"rule \"?no more\"?.* does something else instead of an UPDATE: drop"):
        rows.perform(operation)
    assert rows.dump() == before


def test_a_rule_that_is_disabled_or_does_more_is_no_reason(rows: Database) -> None:
    rows.run(TABLES.format(event="update"))
    rows.run('alter table "Some rows" disable rule "no more"; create table seen (id int)')
    rows.run('create rule too as on update to "Some rows" do also insert into seen values (new.id)')
    rows.perform(Backfill("Some rows", set={"n": "id"}))
    assert rows.rows('select count(*), (select count(*) from seen) from "Some rows" where n = id') == [(20, 20)]


def test_rows_that_cannot_be_deleted_are_kept_by_no_policy(rows: Database) -> None:
    rows.run(TABLES.format(event="delete"))
    with pytest.raises((InvalidOperation, StatementFailed), match=r'rule "no more" of .* instead of a DELETE: drop it'):
        rows.perform(CreateRetentionPolicy("Some rows", column="at", keep="1 day"))


PUBLISHED = """
create table parts (id int not null, n int) partition by range (id);
create table "Part 1" partition of parts for values from (0) to (10);
create table part_2 partition of parts for values from (10) to (20);
insert into parts select generate_series(1, 19); create publication "All %" for table parts;
"""


@pytest.mark.parametrize(
    "operation",
    [
        Backfill("parts", set={"n": "id"}, key=["id"]),
        AddColumnOnline("parts", "key", "uuid", default="gen_random_uuid()", nullable=False, key=["id"]),
    ],
    ids=lambda operation: operation.directive,
)
def test_published_rows_that_have_no_identity_are_not_begun_with(rows: Database, operation: Operation) -> None:
    rows.run(PUBLISHED + "alter table part_2 replica identity full")
    before = rows.dump()
    with pytest.raises(
        InvalidOperation, match=r'Part 1 cannot be set: publication "All %" .* REPLICA IDENTITY FULL first'
    ):
        rows.perform(operation)
    assert rows.dump() == before
    rows.run('create unique index key on "Part 1" (id); alter table "Part 1" replica identity using index key')
    rows.perform(operation)
    with rows.connect() as connection, pytest.raises(Exception, match="does not have a replica identity"):
        connection.execute("drop index key; update parts set n = 0")


def test_published_rows_that_have_a_key_are_set(rows: Database) -> None:
    rows.run(PUBLISHED + "alter table parts add primary key (id); create publication more for all tables")
    rows.perform(Backfill("parts", set={"n": "id"}))
    assert rows.value("select count(*) from parts where n = id") == 19
