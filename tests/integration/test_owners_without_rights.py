"""An owner who has taken rights away from itself, as of a table to which rows are only added: LOCK TABLE is refused to it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from pgopt import IntRange
from pgopt.errors import InvalidOperation
from pgopt.operations import (
    CreateCheckConstraintOnline,
    CreateIndexConcurrently,
    CreateStatistics,
    CreateUniqueConstraintOnline,
    DropIndexConcurrently,
    InstallPgopt,
    ManagePartitions,
    PartitionTable,
    ReplaceIndexConcurrently,
    SetNotNullOnline,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from pgopt.operations.base import Operation, StateOperation
    from tests.databases import Database

ROLE = '"Owner of records"'
PARTITIONED = """
create table p (id int not null, k int not null, v text) partition by range (id);
create table p1 partition of p for values from (0) to (10) partition by range (k);
create table p11 partition of p1 for values from (0) to (10);
create table "p 2" partition of p for values from (10) to (20);
create index p_v on p (v);
insert into p select g, g % 10, 'v' || g from generate_series(0, 19) g;
"""
WITHOUT_ALL = f"revoke all on {{0}} from {ROLE}"
APPEND_ONLY = f"{WITHOUT_ALL}; grant select, insert, trigger on {{0}} to {ROLE}"


@pytest.fixture
def owner(database: Database) -> Iterator[Engine]:
    """A role that makes tables, and sees to it that nobody changes rows."""
    database.run(
        f"create role {ROLE}; grant create on schema public to {ROLE}; grant create on database {database.name} to {ROLE}"
    )
    yield database.engine(connect_args={"options": r"-c role=Owner\ of\ records"})
    database.run(f"drop owned by {ROLE} cascade; drop role {ROLE}")


def made(database: Database, setup: str, *without: str) -> None:
    """Make tables of the owner, without some rights."""
    database.run(f"set role {ROLE}; {setup}; {'; '.join(without)}")


@pytest.mark.parametrize("way", ["up", "down"])
def test_no_row_is_lost_that_comes_while_a_table_is_converted(database: Database, owner: Engine, way: str) -> None:
    made(database, "create table t (id int primary key); insert into t select generate_series(1, 5000)")
    made(database, APPEND_ONLY.format("t"))
    database.perform(InstallPgopt(1), engine=owner)
    convert = PartitionTable("t", by=IntRange("id", step=2000), default=True)
    if way == "down":
        database.perform(convert, engine=owner)
    done, is_over = 5000, threading.Event()

    def add() -> None:
        nonlocal done
        with database.connect() as application:
            while not is_over.is_set():
                application.execute("insert into t values (%s)", [done + 1])
                done += 1

    others = threading.Thread(target=add)
    others.start()
    try:
        database.perform(convert if way == "up" else convert.reverse(), engine=owner)
    finally:
        is_over.set()
        others.join()
    assert database.rows("select count(*), max(id) from t") == [(done, done)]


OPERATIONS: list[StateOperation] = [
    CreateIndexConcurrently("p_k", "p", ["k"], where="id > 0"),
    DropIndexConcurrently("p_v", "p"),
    ReplaceIndexConcurrently("p_v", "p", ["v", "k"]),
    CreateUniqueConstraintOnline("p_key", "p", ["id", "k"]),
    CreateCheckConstraintOnline("p_check", "p", "id >= 0"),
    SetNotNullOnline("p", "v"),
    CreateStatistics("p_known", "p", ["id", "k"]),
]


@pytest.mark.parametrize("without", [APPEND_ONLY, WITHOUT_ALL], ids=["append-only", "none"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda it: it.directive)
def test_the_tree_of_an_owner_who_may_not_write(
    database: Database, owner: Engine, operation: StateOperation, without: str
) -> None:
    made(database, PARTITIONED, *(without.format(each) for each in ("p", "p1", "p11", '"p 2"')))
    before = rightless(database)
    perform_as_told(database, operation, owner)
    assert rightless(database) != before
    if operation.inverse is not None:
        perform_as_told(database, operation.inverse, owner)
        assert rightless(database) == before


def rightless(database: Database) -> list[str]:
    """Give what there is, but for who may do what with it."""
    return [line for line in database.dump().splitlines() if not line.startswith(("GRANT", "REVOKE"))]


def perform_as_told(database: Database, operation: Operation, owner: Engine) -> None:
    """Perform an operation, with the rights for which it asks before it has done anything."""
    before, told = database.dump(), ""
    try:
        database.perform(operation, engine=owner)
    except InvalidOperation as error:
        told = str(error)
    if told:
        assert database.dump() == before
        _, of_what, grant = told.partition("an empty copy of public.p, which this role may not read: ")
        assert of_what, told
        made(database, grant)
        database.perform(operation, engine=owner)


def test_an_index_goes_from_a_partition_of_another_role(database: Database, owner: Engine) -> None:
    made(database, PARTITIONED)
    database.run("alter table p11 owner to current_user")
    before = database.dump()
    said = r"partition public\.p11 belongs to another role, and p_v could not be made again there: say no columns"
    with pytest.raises(InvalidOperation, match=said):
        database.perform(DropIndexConcurrently("p_v", "p", ["v"]), engine=owner)
    assert database.dump() == before
    database.perform(DropIndexConcurrently("p_v", "p"), engine=owner)
    assert not database.value("select to_regclass('p_v')")


def test_a_partition_whose_time_is_over_goes(database: Database, owner: Engine) -> None:
    made(database, "create table n (id int not null) partition by range (id)")
    made(
        database,
        "create table n_p0 partition of n for values from (0) to (10);"
        " create table n_p10 partition of n for values from (10) to (20); insert into n values (1), (19)",
        *(APPEND_ONLY.format(each) for each in ("n", "n_p0", "n_p10")),
    )
    database.perform(InstallPgopt(1), engine=owner)
    database.perform(ManagePartitions("n", keep="5", on_expiry="drop"), engine=owner)
    made(database, "select * from pgopt.maintain_partitions('n')")
    assert database.rows("select id from n") == [(19,)]
