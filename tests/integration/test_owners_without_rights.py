"""An owner who has taken rights away from itself, as of a table to which rows are only added: LOCK TABLE is refused to it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.errors import RaiseException

from pgopt import IntRange
from pgopt.errors import InvalidOperation, PgoptError
from pgopt.operations import (
    CreateArchiveTable,
    CreateCheckConstraintOnline,
    CreateIndexConcurrently,
    CreatePartitionedTable,
    CreateStatistics,
    CreateUniqueConstraintOnline,
    DenormalizeAggregate,
    DenormalizeColumns,
    DetachPartition,
    DropIndexConcurrently,
    InstallPgopt,
    ManagePartitions,
    PartitionTable,
    ReplaceIndexConcurrently,
    ReplaceMaterializedView,
    SetNotNullOnline,
    SplitPartition,
    VerifyDenormalized,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from pgopt.operations.base import Operation, StateOperation
    from tests.databases import Database

ROLE = '"Owner of records"'
READER = "pgopt_reader_of_records"
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
        f"create role {ROLE}; create role {READER}; grant create on schema public to {ROLE}; grant create on database {database.name} to {ROLE}"
    )
    yield database.engine(connect_args={"options": r"-c role=Owner\ of\ records"})
    database.run(f"drop owned by {ROLE}, {READER} cascade; drop role {ROLE}, {READER}")


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
        _, of_what, grant = told.partition("an empty copy of public.p, and this role may not read the table: ")
        assert of_what, told
        made(database, grant)
        database.perform(operation, engine=owner)


def test_an_index_goes_from_a_partition_of_another_role(database: Database, owner: Engine) -> None:
    made(database, PARTITIONED)
    database.run("alter table p11 owner to current_user")
    before = database.dump()
    said = (
        r"partition public\.p11 belongs to another role, and p_v could not be made again there: leave the columns out"
    )
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


def test_a_partition_of_another_role_whose_writers_cannot_be_kept_out_is_refused(
    database: Database, owner: Engine
) -> None:
    made(database, "create table t (id int primary key); insert into t select generate_series(1, 100)")
    convert = PartitionTable("t", by=IntRange("id", step=2000), default=True)
    database.perform(InstallPgopt(1), convert, engine=owner)
    database.run("alter table t_p0 owner to current_user")
    before = database.dump()
    said = r"public\.t_p0 belongs to another role, so nobody can be kept from writing to it"
    with pytest.raises(InvalidOperation, match=said):
        database.perform(convert.reverse(), engine=owner)
    assert database.dump() == before
    database.run(f"grant all on t_p0 to {ROLE}")
    database.perform(convert.reverse(), engine=owner)
    assert database.value("select count(*) from t") == 100


HIDDEN = "alter table {0} enable row level security; alter table {0} force row level security; create policy no on {0} using (false)"


@pytest.mark.parametrize(
    "create",
    [
        *(CreateArchiveTable("t", "gone", rows=rows) for rows in (None, "leave", "restore")),
        CreatePartitionedTable("gone", ["id int"], by=IntRange("id", step=10)),
    ],
    ids=lambda create: create.title,
)
def test_a_table_whose_rows_a_policy_hides_is_not_empty(database: Database, owner: Engine, create: Any) -> None:
    made(database, "create table t (id int primary key)")
    database.perform(InstallPgopt(1), create, engine=owner)
    database.run(f"insert into gone select generate_series(1, 10); {HIDDEN.format('gone')}")
    with pytest.raises(PgoptError, match="row-level security"):
        database.perform(create.reverse(), engine=owner)
    assert database.value("select count(*) from gone") == 10


def test_a_table_that_may_not_be_read_stops_the_maintenance_of_no_other(database: Database, owner: Engine) -> None:
    for name in ("a", "b"):
        create = CreatePartitionedTable(name, ["id int"], by=IntRange("id", step=10), premake=1)
        database.perform(*([InstallPgopt(1)] if name == "a" else []), create, engine=owner)
        database.perform(ManagePartitions(name, premake=3), engine=owner)
    database.run(f"revoke select on a from {ROLE}")
    with database.connect() as connection:
        connection.execute(f"set role {ROLE}")
        found = connection.execute("select parent::text, action, detail from pgopt.maintain_partitions()").fetchall()
    assert ("a", "skipped", "permission denied for table a") in found
    assert ("b", "created") in {(parent, action) for parent, action, _ in found}


def test_default_privileges_open_nothing_that_the_table_does_not(database: Database, owner: Engine) -> None:
    made(
        database,
        "create table t (id int generated by default as identity primary key); insert into t select from generate_series(1, 100);"
        f" alter default privileges in schema public grant select on tables to {READER};"
        f" alter default privileges in schema public grant usage on sequences to {READER}",
        f"revoke update on sequence t_id_seq from {ROLE}",
    )
    convert = PartitionTable("t", by=IntRange("id", step=2000), default=True)
    of_sequence = "select relacl::text from pg_class where oid = 't_id_seq'::regclass"
    before, rights = database.dump(), database.value(of_sequence)
    database.perform(InstallPgopt(1), convert, engine=owner)
    assert database.value(of_sequence) == rights
    assert not database.rows(
        f"select oid::regclass from pg_class where relnamespace = 'public'::regnamespace and has_table_privilege('{READER}', oid, 'select')"
    )
    database.perform(convert.reverse(), engine=owner)
    assert (database.dump(), database.value(of_sequence)) == (before, rights)
    made(database, f"alter default privileges in schema public revoke select on tables from {READER}")
    made(database, f"alter default privileges in schema public revoke usage on sequences from {READER}")


def test_a_sequence_that_may_not_be_read_is_asked_for_before(database: Database, owner: Engine) -> None:
    made(
        database,
        "create table t (id int generated always as identity primary key, k int); insert into t (k) select generate_series(1, 9)",
        f"revoke all on sequence t_id_seq from {ROLE}",
    )
    convert = PartitionTable("t", by=IntRange("id", step=2000))
    database.perform(InstallPgopt(1), engine=owner)
    with pytest.raises(
        InvalidOperation, match="sequence t_id_seq is read: GRANT SELECT ON SEQUENCE t_id_seq TO"
    ) as caught:
        database.perform(convert, engine=owner)
    made(database, str(caught.value).partition("is read: ")[2])
    before = database.dump()
    database.perform(convert, convert.reverse(), engine=owner)
    assert database.dump() == before


def test_default_privileges_open_no_first_partition(database: Database, owner: Engine) -> None:
    create = CreatePartitionedTable("logs", ["id int"], by=IntRange("id", step=10), premake=1)
    database.perform(InstallPgopt(1), create, engine=owner)
    made(database, "drop table logs_p0, logs_p10")
    made(database, f"alter default privileges in schema public grant select on tables to {READER}")
    made(database, "select pgopt.maintain_partitions()")
    assert database.rows(
        f"select relid::text, has_table_privilege('{READER}', relid, 'select') from pg_partition_tree('logs') where isleaf"
    ) == [
        ("logs_p0", False),
        ("logs_p10", False),
    ]
    made(database, f"alter default privileges in schema public revoke select on tables from {READER}")


def test_default_privileges_that_take_rights_from_the_owner_stop_no_writer(database: Database, owner: Engine) -> None:
    made(
        database,
        "create table t (id int primary key, org int not null); insert into t select g, g % 3 from generate_series(1, 100) g",
        "create table org (id int primary key); insert into org values (0), (1), (2); create index on t (org)",
    )
    database.perform(InstallPgopt(1), engine=owner)
    made(
        database,
        f"alter default privileges revoke insert, update, delete on tables from {ROLE}",
        f"alter default privileges grant select on tables to {READER}",
    )
    count = DenormalizeAggregate(
        "org", source="t", on={"id": "org"}, columns={"n": "count(*)"}, deferred="every 20 seconds"
    )
    convert = PartitionTable("t", by=IntRange("id", step=2000), default=True)
    archive = CreateArchiveTable("t", "t_archive")
    before = database.dump()
    for operation in (count, convert, archive):
        database.perform(operation, engine=owner)
        made(database, "insert into t values (101, 1); delete from t where id = 101")
        assert not database.rows(
            f"select oid::regclass from pg_class where relkind in ('r', 'p') and has_table_privilege('{READER}', oid, 'select')"
            " and relnamespace in ('public'::regnamespace, 'pgopt'::regnamespace)"
        )
        database.perform(operation.reverse(), engine=owner)
    assert database.dump() == before
    made(
        database,
        f"alter default privileges grant insert, update, delete on tables to {ROLE}",
        f"alter default privileges revoke select on tables from {READER}",
    )


KEPT = """
create table org (id int primary key, name text); create table tk (id int primary key, org int); create index on tk (org);
insert into org values (1, 'a'); insert into tk values (1, 1)
"""
KEEP = DenormalizeColumns("tk", source="org", on={"org": "id"}, columns={"org_name": "name"})


@pytest.mark.parametrize("right", ["select on org", "trigger on org", "update on tk", "trigger on tk", "select on tk"])
def test_rights_that_keeping_columns_takes_are_asked_for_before(database: Database, owner: Engine, right: str) -> None:
    made(database, KEPT, f"revoke {right} from {ROLE}")
    database.perform(InstallPgopt(1), engine=owner)
    before = database.dump()
    what, table = right.split(" on ")
    with pytest.raises(InvalidOperation, match=rf"gets triggers: GRANT {what.upper()} ON TABLE {table} TO") as caught:
        database.perform(KEEP, engine=owner)
    assert database.dump() == before
    made(database, str(caught.value).partition("triggers: ")[2])
    database.perform(KEEP, VerifyDenormalized("tk"), engine=owner)


def test_rows_that_a_policy_hides_are_not_said_to_be_right(database: Database, owner: Engine) -> None:
    made(database, KEPT)
    database.perform(InstallPgopt(1), KEEP, VerifyDenormalized("tk"), engine=owner)
    database.run(HIDDEN.format("tk"))
    with pytest.raises(InvalidOperation, match=r"public\.tk has row-level security for this role"):
        database.perform(VerifyDenormalized("tk"), engine=owner)
    # a loud error, where rows would be left as they were
    with pytest.raises(RaiseException, match="kept by Owner of records, from whom row-level security"):
        database.run("update org set name = 'b'")


def test_triggers_of_a_table_are_not_run_as_a_superuser(database: Database, owner: Engine) -> None:
    made(database, KEPT)
    database.perform(InstallPgopt(1))
    with pytest.raises(InvalidOperation, match="whose triggers would run with the rights of the superuser"):
        database.perform(KEEP)


def test_a_view_shows_no_rows_that_policies_hide_from_its_owner(database: Database, owner: Engine) -> None:
    database.run(
        f"create table t (id int); insert into t values (1), (2); alter table t enable row level security; grant select on t to {ROLE};"
        f" create policy ours on t to {ROLE} using (id = 1)"
    )
    made(database, "create table u as select 1 as id", "create materialized view v as select id from t")
    database.perform(InstallPgopt(1), engine=owner)
    hidden = r"policies of public\.t show its owner .*would be filled by"
    with pytest.raises(InvalidOperation, match=hidden):
        database.perform(ReplaceMaterializedView("v", "select id, 1 as one from t", old="select id from t"))
    assert database.rows("select id from v") == [(1,)]
    # neither where the query comes to read it, nor where it did and comes back
    made(database, "create materialized view w as select id from u")
    reads = ReplaceMaterializedView("w", "select id from t", old="select id from u")
    with pytest.raises(InvalidOperation, match=hidden):
        database.perform(reads)
    database.perform(reads, engine=owner)
    database.perform(reads.reverse())
    with pytest.raises(InvalidOperation, match=hidden):
        database.perform(reads)


SPLIT = """
create table n (id int primary key) partition by range (id);
create table n_0 partition of n for values from (0) to (100); create table n_rest partition of n default;
insert into n select generate_series(1, 99)
"""


def test_rights_that_a_split_takes_are_asked_for_before(database: Database, owner: Engine) -> None:
    made(database, SPLIT, APPEND_ONLY.format("n_0"))
    database.perform(InstallPgopt(1), engine=owner)
    split = SplitPartition("n", "n_0", at=["50"], into=["n_a", "n_b"])
    before = database.dump()
    with pytest.raises(
        InvalidOperation, match=r"n_0 is read and emptied, .*: GRANT TRUNCATE ON TABLE public\.n_0 TO"
    ) as caught:
        database.perform(split, engine=owner)
    assert database.dump() == before
    made(database, str(caught.value).rpartition("triggers: ")[2])
    database.perform(split, engine=owner)
    assert database.value("select count(*) from n") == 99


@pytest.mark.parametrize("theirs", ["n_0", "n_rest"])
def test_a_partition_that_could_not_be_attached_again_is_not_detached(
    database: Database, owner: Engine, theirs: str
) -> None:
    made(database, SPLIT)
    database.run(f"alter table {theirs} owner to current_user; grant all on {theirs} to {ROLE}")
    before = database.dump()
    with pytest.raises(
        InvalidOperation, match=rf"partition public\.{theirs} belongs to another role, so public\.n_0 could not"
    ):
        database.perform(DetachPartition("n", "n_0", lower=0, upper=100), engine=owner)
    assert database.dump() == before
