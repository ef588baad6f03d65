"""Foreign keys of tables whose partitions are split and merged: exchanged in the swap, and checked after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import event

from pgopt import InvalidOperation
from pgopt.operations import InstallPgopt, SplitPartition
from tests.integration.test_partitions import interrupting, perform

if TYPE_CHECKING:
    from pgopt.operations import Operation
    from tests.databases import Database

PEOPLE = "create table people (id int primary key); insert into people select generate_series(1, 9);"
TINY = """
create table tiny (id int primary key, author int constraint author references people on delete cascade,
    before int constraint before references tiny) partition by range (id);
create table tiny_old partition of tiny for values from (0) to (30);
create table tiny_new partition of tiny for values from (30) to (100);
insert into tiny select g, 1 + g % 9, nullif(g - 1, -1) from generate_series(0, 59) g;
create table notes (tiny int constraint of_tiny references tiny on delete cascade);
insert into notes select id from tiny;
"""
SPLIT = SplitPartition("tiny", "tiny_old", at=[10, 20], into=["tiny_0", "tiny_10", "tiny_20"])
MERGE = SPLIT.reverse()
KEYS = """select conname, convalidated from pg_constraint where contype = 'f' and conparentid = 0
    and connamespace = 'public'::regnamespace order by 1"""


@pytest.fixture
def tiny(database: Database) -> Database:
    database.run(PEOPLE + TINY)
    database.perform(InstallPgopt(1))
    return database


class Stopped(Exception):
    """Somebody has killed the migration."""


def stop() -> None:
    raise Stopped


def test_they_hold_for_all_rows_afterwards(tiny: Database) -> None:
    before = tiny.dump()
    tiny.perform(SPLIT)
    assert tiny.rows(KEYS) == [("author", True), ("before", True), ("of_tiny", True)]
    for wrong in (
        "insert into tiny values (70, 77)",
        "insert into notes values (99)",
        "delete from tiny where id = 15",
        "update tiny_10 set author = 12 where id = 11",
    ):
        with pytest.raises(ForeignKeyViolation):
            tiny.run(wrong)
    tiny.run("update tiny set before = null; delete from people where id = 3")
    assert tiny.value("select count(*) from tiny where author = 3") == 0
    assert tiny.value("select count(*) from notes") == tiny.value("select count(*) from tiny")
    tiny.perform(MERGE)
    assert tiny.dump() == before
    assert tiny.rows(KEYS) == [("author", True), ("before", True), ("of_tiny", True)]


@pytest.mark.parametrize("label", ["check the rows of", "see that tiny has"])
@pytest.mark.parametrize("operation", [SPLIT, MERGE], ids=["split", "merge"])
def test_what_was_interrupted_before_they_were_checked_goes_either_way(
    tiny: Database, operation: Operation, label: str
) -> None:
    before = tiny.dump()
    if operation is MERGE:
        tiny.perform(SPLIT)
    split = tiny.dump()
    # 18 has nothing to adopt
    if label == "see that tiny has" and tiny.value("show server_version_num") >= "180000":
        label = "check the rows of notes"
    with pytest.raises(Stopped):
        perform(tiny, operation, interrupting(label, stop))
    tiny.perform(MERGE if operation is SPLIT else SPLIT)
    assert tiny.dump() == (before if operation is SPLIT else split)
    with pytest.raises(Stopped):
        perform(tiny, operation, interrupting(label, stop))
    tiny.perform(operation)
    tiny.perform(MERGE)
    assert tiny.dump() == before
    assert tiny.rows(KEYS) == [("author", True), ("before", True), ("of_tiny", True)]


def test_those_that_would_be_lost_or_cannot_be_exchanged_are_refused(tiny: Database) -> None:
    tiny.run(
        "create table parts (tiny int references tiny) partition by range (tiny);"
        " create table direct (tiny int references tiny_old);"
        " alter table tiny_old add constraint alone foreign key (id) references tiny (id);"
        " create role referrer_of_tiny; create table theirs (tiny int references tiny); alter table theirs owner to referrer_of_tiny;"
        " create role splitter_of_tiny; alter table tiny owner to splitter_of_tiny; alter table tiny_old owner to splitter_of_tiny;"
        " alter table tiny_new owner to splitter_of_tiny; alter table parts owner to splitter_of_tiny; alter table direct owner to"
        " splitter_of_tiny; alter table people owner to splitter_of_tiny; alter table notes owner to splitter_of_tiny;"
        " grant usage on schema pgopt to splitter_of_tiny; grant all on all tables in schema pgopt to splitter_of_tiny;"
        " grant execute on all functions in schema pgopt to splitter_of_tiny; grant create on schema public to splitter_of_tiny"
    )
    engine = tiny.engine(connect_args={"options": "-c role=splitter_of_tiny"})
    try:
        with pytest.raises(InvalidOperation) as error:
            tiny.perform(SPLIT, engine=engine)
    finally:
        engine.dispose()
        tiny.run(
            "drop owned by referrer_of_tiny, splitter_of_tiny cascade; drop role referrer_of_tiny, splitter_of_tiny"
        )
    for line in (
        "foreign key parts_tiny_fkey of public.parts refers to public.tiny and is of a partitioned table, on which",
        "foreign key direct_tiny_fkey of public.direct refers to public.tiny_old itself, and would lose its rows: drop it",
        "foreign key theirs_tiny_fkey of public.theirs refers to public.tiny and is of another role: its owner must split",
        "foreign key alone is of public.tiny_old alone, and would not be kept: drop it, or make it one of public.tiny",
    ):
        assert line in str(error.value), str(error.value)


def test_those_of_another_partition_alone_stay_so(tiny: Database) -> None:
    tiny.run("alter table tiny_new add constraint alone foreign key (author) references people")
    before = tiny.dump()
    tiny.perform(SPLIT)
    assert tiny.rows("select conrelid::regclass::text from pg_constraint where conname = 'alone'") == [("tiny_new",)]
    tiny.perform(MERGE)
    assert tiny.dump() == before


def test_who_may_only_refer_to_the_table_of_another_role_can_split(database: Database) -> None:
    database.run("create role split_owner login; grant create, usage on schema public to split_owner")
    try:
        database.run(
            f"{PEOPLE} grant references on people to split_owner; grant create on database {database.name} to split_owner;"
            f" set role split_owner; {TINY}"
        )
        engine = database.engine()
        event.listen(
            engine, "connect", lambda connection, _: connection.execute("set session authorization split_owner")
        )
        before = database.dump()
        database.perform(InstallPgopt(1), SPLIT, MERGE, InstallPgopt(1).reverse(), engine=engine)
        assert database.dump() == before
        assert database.rows(KEYS) == [("author", True), ("before", True), ("of_tiny", True)]
    finally:
        database.run("drop owned by split_owner cascade; drop role split_owner")
