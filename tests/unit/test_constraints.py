"""What constraint operations refuse, in one sentence and before anything is changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from alembic.operations import Operations

from pgopt import InvalidOperation, PgoptError
from pgopt.operations import (
    CreateCheckConstraintOnline,
    CreateForeignKeyOnline,
    CreateIndexConcurrently,
    CreatePrimaryKeyOnline,
    CreateUniqueConstraintOnline,
    DropCheckConstraintOnline,
    DropForeignKeyOnline,
    DropIndexConcurrently,
    DropNotNull,
    DropPrimaryKeyOnline,
    DropUniqueConstraintOnline,
    Operation,
    ReplaceIndexConcurrently,
    ReplacePrimaryKeyOnline,
    SetNotNullOnline,
)
from pgopt.plan.events import Event, Note, StepStarted
from tests.contract.examples.keys import KEPT, KEPT_OPERATION
from tests.databases import PATIENT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Database

SETUP = """
create table kinds (id int primary key, name text, constraint uq_name unique (name), constraint uq_pair unique (id, name));
create table t (id int not null, a int, b int, kind int, name text);
insert into t values (1, 1, 1, 1, 'x'), (2, 1, 2, null, 'y'), (3, null, 3, 7, null), (4, null, 4, 8, 'no');
insert into kinds values (1, 'x'), (2, 'y');
create materialized view m as select 1 as a;

-- indexes that only look like a key's
create unique index same on t (b);
create unique index otherwise on t (b) include (a);
create index plain on t (b);
create unique index elsewhere on kinds (name, id);

-- what would not come back
alter table t add constraint commented check (b > 0);
comment on constraint commented on t is 'keep me';
alter table t add constraint lone check (b > -1) no inherit;
create table keyed (id int, a int not null, b int, c int, d int, e int, constraint keyed_pkey primary key (id),
    constraint uq_a unique (a), constraint uq_b unique (b) with (fillfactor = 60), constraint uq_c unique (c),
    constraint uq_d unique (d), constraint uq_e unique (e));
comment on constraint uq_c on keyed is 'keep me';
comment on index uq_d is 'me, too';
alter table keyed cluster on keyed_pkey;
alter table keyed replica identity using index uq_a;
create table refers (d int, kind int, name text, id int);
alter table refers add constraint fk_d foreign key (d) references keyed (d);
alter table refers add constraint fk_some foreign key (id, name) references kinds (id, name) on delete set null (name);
alter table refers add constraint fk_kind foreign key (kind) references kinds (id);
comment on constraint fk_kind on refers is 'keep me';

create table sold (day int, item int, primary key (day, item));
insert into sold values (1, 1), (1, 2);
create table ref (id int primary key, a int not null, b int);
create view ref_view as select id, a, b from ref group by id;
create table ref_by (id int references ref);

-- partitions
create table parts (id int not null, at date not null, kind int not null) partition by range (at);
create table parts_1 partition of parts for values from ('2024-01-01') to ('2025-01-01') partition by list (kind);
create table parts_1_a partition of parts_1 default;
create table parts_2 partition of parts for values from ('2025-01-01') to ('2026-01-01');
insert into parts values (1, '2025-02-01', 1), (1, '2025-02-01', 1), (2, '2025-02-01', 77), (3, '2024-02-01', 1);
create table own (id int not null, kind int not null) partition by list (kind);
create table own_1 partition of own (constraint own_key primary key (id, kind)) for values in (1);
alter table own_1 add constraint own_kind foreign key (kind) references kinds (id);
create table whole (id int primary key, more int not null) partition by list (id);
create table whole_1 partition of whole for values in (1);
create table computed (id int) partition by list ((id % 3));
create foreign data wrapper nothing;
create server nowhere foreign data wrapper nothing;
create table beyond (a int, b int not null) partition by list (a);
create table beyond_1 partition of beyond for values in (1);
create foreign table beyond_2 partition of beyond for values in (2) server nowhere;
insert into beyond values (1, -1);
"""

REFUSED: dict[str, tuple[Operation, str]] = {
    "check that rows violate": (
        CreateCheckConstraintOnline("ck", "t", "b < 3"),
        r"2 rows of public.t violate it \(ctid: .*\); mend them and run again",
    ),
    "check beside a foreign partition that rows violate": (
        CreateCheckConstraintOnline("ck", "beyond", "b > 0"),
        r"1 rows of public.beyond violate it",
    ),
    "check on a materialized view": (
        CreateCheckConstraintOnline("ck", "m", "a > 0"),
        "public.m is a materialized view, which can have no constraints",
    ),
    "unique constraint on a materialized view": (
        CreateUniqueConstraintOnline("uq", "m", ["a"]),
        "public.m is a materialized view, which can have no constraints: create a unique index",
    ),
    "another check": (
        CreateCheckConstraintOnline("commented", "t", "b > 1"),
        r"(?s)there is a constraint commented on public.t already, and it is another one:.*wanted is CHECK \(\(b > 1\)\)",
    ),
    "drop of a check with a comment": (
        DropCheckConstraintOnline("commented", "t", "b > 0"),
        "constraint commented of public.t has the comment 'keep me', which would not come back",
    ),
    "drop of a check that is NO INHERIT": (DropCheckConstraintOnline("lone", "t", "b > -1"), "and it is another one"),
    "foreign key with orphans": (
        CreateForeignKeyOnline("fk", "t", "kinds", ["kind"], ["id"]),
        r"2 rows of public.t refer to no row of public.kinds \(ctid: ",
    ),
    "foreign key that matches in part": (
        CreateForeignKeyOnline("fk", "t", "kinds", ["kind", "name"], ["id", "name"], match="FULL"),
        r"3 rows of public.t refer to no row of public.kinds, or have NULL in some of their columns and not in all \(ctid",
    ),
    "foreign key that matches in part, and that is simple": (
        CreateForeignKeyOnline("fk", "t", "kinds", ["kind", "name"], ["id", "name"]),
        "1 rows of public.t refer to no row of public.kinds ",
    ),
    "foreign key of a partitioned table with orphans": (
        CreateForeignKeyOnline("fk", "parts", "kinds", ["kind"], ["id"]),
        "1 rows of public.parts.* refer to no row of public.kinds",
    ),
    "foreign key with a foreign partition": (
        CreateForeignKeyOnline("fk", "beyond", "kinds", ["b"], ["id"]),
        "partition public.beyond_2 is a foreign table, which can have no foreign key",
    ),
    "foreign key that a partition has": (
        CreateForeignKeyOnline("fk", "own", "kinds", ["kind"], ["id"]),
        "partition public.own_1 has the equal foreign key own_kind, which would become a part of fk: drop that first",
    ),
    "another foreign key": (
        CreateForeignKeyOnline("fk_kind", "refers", "kinds", ["kind"], ["id"], ondelete="CASCADE"),
        "(?s)there is a constraint fk_kind on public.refers already, and it is another one:.*wanted is ",
    ),
    "a foreign key of the name of a unique constraint": (
        CreateForeignKeyOnline("uq_a", "keyed", "kinds", ["id"], ["id"]),
        "there is a constraint uq_a on public.keyed already, and it is another one",
    ),
    "foreign key that sets some columns NULL": (
        DropForeignKeyOnline("fk_some", "refers", "kinds", ["id", "name"], ["id", "name"], ondelete="SET NULL"),
        r"(?s)there is a constraint fk_some on public.refers already, and it is another one.*SET NULL \(name\)",
    ),
    "drop of a foreign key with a comment": (
        DropForeignKeyOnline("fk_kind", "refers", "kinds", ["kind"], ["id"]),
        "constraint fk_kind of public.refers has the comment 'keep me'",
    ),
    "unique constraint with duplicates": (
        CreateUniqueConstraintOnline("uq", "t", ["a"]),
        r"1 keys of public.t are there more than once \(a: 1 \(2 times\)\); mend them and run again",
    ),
    "unique constraint with NULLs that are equal": (
        CreateUniqueConstraintOnline("uq", "t", ["a"], nulls_not_distinct=True),
        r"2 keys of public.t are there more than once",
    ),
    "unique constraint whose index is another": (
        CreateUniqueConstraintOnline("otherwise", "t", ["b"]),
        "(?s)there is an index public.otherwise already, and it is another one",
    ),
    "unique constraint whose index is not unique": (
        CreateUniqueConstraintOnline("plain", "t", ["b"]),
        "(?s)there is an index public.plain already, and it is another one",
    ),
    "unique constraint whose index is of another table": (
        CreateUniqueConstraintOnline("elsewhere", "t", ["name", "id"]),
        "index public.elsewhere is on public.kinds, not on public.t",
    ),
    "drop of a unique constraint that is an index of another table": (
        DropUniqueConstraintOnline("elsewhere", "t"),
        "index public.elsewhere is on public.kinds, not on public.t",
    ),
    "drop of a unique constraint that is an index": (
        DropUniqueConstraintOnline("plain", "t"),
        "there is no constraint plain on public.t, and the index public.plain is not of one",
    ),
    "drop of a unique constraint that is another index": (
        DropUniqueConstraintOnline("otherwise", "t", ["b"]),
        "there is an index public.otherwise already, and it is another one",
    ),
    "primary key of what may be NULL": (
        CreatePrimaryKeyOnline("pk", "t", ["id", "b"]),
        r"column 'b' of public.t may be NULL: op.set_not_null_online\('t', 'b'\) first",
    ),
    "second primary key": (
        CreatePrimaryKeyOnline("pk", "keyed", ["a"]),
        "public.keyed has the primary key keyed_pkey already: drop or replace that",
    ),
    "primary key of a partition that has its parent's": (
        CreatePrimaryKeyOnline("mine", "whole_1", ["id"]),
        "public.whole_1 has the primary key whole_1_pkey already",
    ),
    "drop of a primary key that is clustered on": (
        DropPrimaryKeyOnline("keyed_pkey", "keyed", ["id"]),
        "index public.keyed_pkey is what public.keyed is clustered on, which would not come back",
    ),
    "drop of a replica identity": (
        DropUniqueConstraintOnline("uq_a", "keyed"),
        "index public.uq_a is the replica identity of public.keyed: set another one first",
    ),
    "drop of a key with storage parameters": (
        DropUniqueConstraintOnline("uq_b", "keyed", ["b"]),
        r"index public.uq_b has storage parameters \(fillfactor=60\), which would not come back",
    ),
    "drop of a key with a comment": (
        DropUniqueConstraintOnline("uq_c", "keyed", ["c"]),
        "constraint uq_c of public.keyed has the comment 'keep me'",
    ),
    "drop of a key with a comment on its index": (
        DropUniqueConstraintOnline("uq_d", "keyed", ["d"]),
        "index public.uq_d .*",
    ),
    "drop of a key that others refer to": (
        DropUniqueConstraintOnline("uq_d", "keyed"),
        "index public.uq_d is used by foreign keys of refers: drop them first",
    ),
    "key of a partitioned table without its partition key": (
        CreatePrimaryKeyOnline("pk", "parts", ["id", "kind"]),
        "public.parts is partitioned by at, which each primary key must contain: add at to the columns of pk",
    ),
    "key of a partitioned table without that of a partition": (
        CreateUniqueConstraintOnline("uq", "parts", ["id", "at"]),
        "public.parts_1 is partitioned by kind, which each unique must contain: add kind to the columns of uq",
    ),
    "key of a table that is partitioned by an expression": (
        CreateUniqueConstraintOnline("uq", "computed", ["id"]),
        "public.computed is partitioned by an expression, and so can have no unique",
    ),
    "key of a partitioned table with duplicates": (
        CreateUniqueConstraintOnline("uq", "parts", ["id", "at", "kind"]),
        "1 keys of public.parts_2 are there more than once",
    ),
    "key of a partitioned table with a foreign partition": (
        CreateUniqueConstraintOnline("uq", "beyond", ["a"]),
        "partition public.beyond_2 of public.beyond is a foreign table",
    ),
    "primary key of a partitioned table whose partition has one": (
        CreatePrimaryKeyOnline("pk", "own", ["id", "kind"]),
        "public.own_1 has the primary key own_key already: drop or replace that",
    ),
    "replace of a key that is another": (
        ReplacePrimaryKeyOnline("kinds_pkey", "kinds", ["name"], old=["id", "name"]),
        r"(?s)there is a constraint kinds_pkey on public.kinds already, and it is another one:.*PRIMARY KEY \(id\)",
    ),
    "replace of a key that has another name": (
        ReplacePrimaryKeyOnline("pk", "kinds", ["name"], old=["id"]),
        "public.kinds has no primary key pk to replace: its primary key is kinds_pkey",
    ),
    "replace of a key that is not there": (
        ReplacePrimaryKeyOnline("pk", "t", ["id"], old=["b"]),
        "public.t has no primary key pk to replace: op.create_primary_key_online adds one",
    ),
    "replace by a key of what may be NULL": (
        ReplacePrimaryKeyOnline("keyed_pkey", "keyed", ["id", "b"], old=["id"]),
        "column 'b' of public.keyed may be NULL",
    ),
    "replace by a key with duplicates": (
        ReplacePrimaryKeyOnline("sold_pkey", "sold", ["day"], old=["day", "item"]),
        r"1 keys of public.sold are there more than once \(day: 1 \(2 times\)\); mend them and run again",
    ),
    "replace of a key that others rest on": (
        ReplacePrimaryKeyOnline("ref_pkey", "ref", ["id", "a"], old=["id"]),
        "constraint ref_by_id_fkey on table ref_by, rule _RETURN on view ref_view depend on the primary key ref_pkey of public.ref: drop them first",
    ),
    "replace of the key of a partitioned table by one without the partition key": (
        ReplacePrimaryKeyOnline("whole_pkey", "whole", ["more"], old=["id"]),
        "public.whole is partitioned by id, which each primary key must contain: add id to the columns of whole_pkey",
    ),
    "not null where there are some": (
        SetNotNullOnline("t", "a"),
        "2 rows of public.t have NULL in a",
    ),
    "not null of an unknown column": (SetNotNullOnline("t", "nope"), "public.t has no column 'nope'"),
}


@pytest.mark.parametrize(("operation", "said"), REFUSED.values(), ids=REFUSED)
def test_refusal_is_one_clear_error_and_changes_nothing(database: Database, operation: Operation, said: str) -> None:
    database.run(SETUP)
    before, rows = database.dump(), database.contents()
    with pytest.raises(PgoptError, match=said) as caught:
        database.perform(operation)
    assert str(caught.value).startswith(f"{operation.title}: ")
    assert (database.dump(), database.contents()) == (before, rows)
    assert database.rows("select indexrelid::regclass from pg_index where not indisvalid") == []


NAMED = """
create table t (a int constraint of_mine not null, b int constraint t_b_not_null_really not null,
                c int not null, d int not null, e int);
comment on constraint t_c_not_null on t is 'keep me';
alter table t drop constraint t_d_not_null, add constraint t_d_not_null not null d no inherit;
"""


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("a", "has the name 'of_mine', which would not come back: rename that constraint to 't_a_not_null' first"),
        ("b", "has the name 't_b_not_null_really', which would not come back"),
        ("c", "constraint t_c_not_null of public.t has the comment 'keep me', which would not come back"),
        ("d", "NOT NULL of column 'd' of public.t is NO INHERIT, which would not come back"),
    ],
)
def test_not_null_that_would_not_come_back_is_refused(database: Database, major: int, column: str, said: str) -> None:
    if major < 18:
        return  # NOT NULL has no name yet
    database.run(NAMED)
    before = database.dump()
    with pytest.raises(PgoptError, match=said):
        database.perform(DropNotNull("t", column))
    assert database.dump() == before


def test_a_constraint_that_is_not_enforced_is_another_one(database: Database, major: int) -> None:
    if major < 18:
        return  # all are
    database.run(
        "create table k (id int primary key); create table t (a int, constraint ck check (a > 0) not enforced,"
        " constraint fk foreign key (a) references k not enforced)"
    )
    before = database.dump()
    for operation in (
        CreateCheckConstraintOnline("ck", "t", "a > 0"),
        DropCheckConstraintOnline("ck", "t", "a > 0"),
        CreateForeignKeyOnline("fk", "t", "k", ["a"], ["id"]),
        DropForeignKeyOnline("fk", "t", "k", ["a"], ["id"]),
    ):
        with pytest.raises(PgoptError, match=r"(?s)and it is another one.*NOT ENFORCED"):
            database.perform(operation)
    assert database.dump() == before


@pytest.fixture
def tablespace(database: Database) -> Iterator[str]:
    """A tablespace within the server's own folder."""
    with database.connect(options="-c allow_in_place_tablespaces=on") as connection:
        connection.execute("create tablespace pgopt_test location ''")
    yield "pgopt_test"
    database.run("drop table t")
    database.run("drop tablespace pgopt_test")


def test_an_index_in_another_tablespace_is_another_one(database: Database, tablespace: str) -> None:
    database.run("create table t (a int); create index ix on t (a)")
    database.perform(CreateIndexConcurrently("ix", "t", ["a"], tablespace="pg_default"))
    with pytest.raises(PgoptError, match=r"(?s)it is another one.*tablespace \"pgopt_test\""):
        database.perform(CreateIndexConcurrently("ix", "t", ["a"], tablespace=tablespace))
    database.run(f"alter index ix set tablespace {tablespace}")
    database.perform(CreateIndexConcurrently("ix", "t", ["a"], tablespace=tablespace))
    with pytest.raises(PgoptError, match=r"(?s)it is another one.*TABLESPACE pgopt_test"):
        database.perform(CreateIndexConcurrently("ix", "t", ["a"], tablespace="pg_default"))


def test_an_index_in_a_tablespace_comes_back_there(database: Database, tablespace: str) -> None:
    database.run(f"create table t (a int); create index ix on t (a) tablespace {tablespace}")
    for operation, say in (
        (DropIndexConcurrently("ix", "t", ["a"]), "say"),
        (ReplaceIndexConcurrently("ix", "t", ["a desc"], old=["a"]), "say in old="),
    ):
        said = f"lies in the tablespace pgopt_test, where it would not come back: {say} tablespace='pgopt_test'"
        with pytest.raises(PgoptError, match=said):
            database.perform(operation)
    before = database.dump()
    drop = DropIndexConcurrently("ix", "t", ["a"], tablespace=tablespace)
    database.perform(drop)
    database.perform(drop.reverse())
    assert database.dump() == before


def test_a_replacement_moves_an_index_there_and_back(database: Database, tablespace: str) -> None:
    database.run("create table t (a int); create index ix on t (a)")
    before = database.dump()
    move = ReplaceIndexConcurrently("ix", "t", ["a"], tablespace=tablespace, old=["a"])
    for _ in range(2):
        database.perform(move)
        there = database.dump()
        assert there != before
    for _ in range(2):
        database.perform(move.reverse())
        assert database.dump() == before
    # what is made without a word is made there now
    database.run(f"alter database {database.name} set default_tablespace = {tablespace}")
    database.perform(move.reverse())
    create = CreateIndexConcurrently("other", "t", ["a desc"])
    database.perform(create, create.reverse())
    with pytest.raises(PgoptError, match="say tablespace='pg_default'"):
        database.perform(DropIndexConcurrently("ix", "t", ["a"]))
    database.run(f"alter database {database.name} reset default_tablespace")


def test_an_index_of_a_partition_in_a_tablespace_would_not_come_back(database: Database, tablespace: str) -> None:
    database.run("create table t (a int) partition by list (a); create table t1 partition of t for values in (1)")
    database.run(f"create index ix on t (a); alter index t1_a_idx set tablespace {tablespace}")
    for operation in (
        DropIndexConcurrently("ix", "t", ["a"]),
        ReplaceIndexConcurrently("ix", "t", ["a desc"], old=["a"]),
    ):
        with pytest.raises(
            PgoptError, match=r"index public\.t1_a_idx lies in the tablespace pgopt_test, where it would not"
        ):
            database.perform(operation)
    database.perform(DropIndexConcurrently("ix", "t"))


def test_an_index_that_depends_on_an_extension_would_not_come_back(database: Database) -> None:
    database.run("create table t (a int); create index ix on t (a); alter index ix depends on extension plpgsql")
    with pytest.raises(
        PgoptError, match=r"index public.ix depends on the extension plpgsql, which would not come back"
    ):
        database.perform(DropIndexConcurrently("ix", "t", ["a"]))
    database.perform(DropIndexConcurrently("ix", "t"))


def test_a_key_in_a_tablespace_would_not_come_back(database: Database, tablespace: str) -> None:
    database.run(f"create table t (a int, constraint uq unique (a) using index tablespace {tablespace})")
    with pytest.raises(PgoptError, match=r"index public.uq has another tablespace \(pgopt_test\), which would not"):
        database.perform(DropUniqueConstraintOnline("uq", "t", ["a"]))
    database.perform(DropUniqueConstraintOnline("uq", "t"))


@pytest.mark.parametrize(
    "operation",
    [
        DropCheckConstraintOnline("commented", "t"),
        DropForeignKeyOnline("fk_kind", "refers"),
        DropUniqueConstraintOnline("uq_b", "keyed"),
        DropUniqueConstraintOnline("uq_c", "keyed"),
        DropPrimaryKeyOnline("keyed_pkey", "keyed"),
    ],
    ids=repr,
)
def test_a_drop_that_is_not_to_be_undone_drops_all(database: Database, operation: Operation) -> None:
    database.run(SETUP)
    database.perform(operation)
    assert not database.value(f"select count(*) from pg_constraint where conname = '{operation.name}'")  # type: ignore[attr-defined]


def test_an_index_that_an_interrupted_run_left_becomes_the_key(database: Database) -> None:
    database.run(SETUP)
    oid = database.value("select 'same'::regclass::oid")
    database.perform(CreateUniqueConstraintOnline("same", "t", ["b"]))
    assert database.rows("select conindid from pg_constraint where conname = 'same'") == [(oid,)]


@pytest.mark.parametrize(
    ("made", "operation"),
    [
        ("add constraint x check (a > 0) not valid", DropCheckConstraintOnline("x", "t", "a > 0")),
        ("add constraint x foreign key (a) references k not valid", DropForeignKeyOnline("x", "t", "k", ["a"], ["id"])),
    ],
    ids=["check", "foreign key"],
)
def test_a_drop_says_that_what_is_not_valid_comes_back_valid(
    database: Database, made: str, operation: Operation
) -> None:
    database.run(f"create table k (id int primary key); create table t (a int); alter table t {made}")
    told = database.perform(operation)
    assert "constraint x of public.t is NOT VALID: when this is undone, the rows are checked against it" in [
        event.text for event in told if isinstance(event, Note)
    ]


def test_partitions_that_come_between_have_the_key_too(database: Database) -> None:
    database.run(
        "create table parts (id int not null, kind int not null) partition by list (kind);"
        "create table parts_1 partition of parts for values in (1)"
    )

    def add_one(event: Event) -> None:
        if isinstance(event, StepStarted):
            number = database.value("select count(*) + 1 from pg_inherits where inhparent = 'parts'::regclass")
            if number <= 2 or ("attach" in event.label and number <= 3):
                database.run(f"create table parts_{number} partition of parts for values in ({number})")

    before = CreatePrimaryKeyOnline("parts_pkey", "parts", ["id", "kind"])
    with database.migration(pgopt_report=add_one) as context, context.begin_transaction(_per_migration=True):
        Operations(context).invoke(before)
    assert database.rows(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'parts_pkey'::regclass order by 1"
    ) == [("parts_1_parts_pkey",), ("parts_2_parts_pkey",), ("parts_3_pkey",)]
    assert database.value("select bool_and(indisvalid) from pg_index where indexrelid::regclass::text ~ '^parts'")


def test_a_replaced_key_keeps_what_hangs_on_it(database: Database) -> None:
    database.run(KEPT)
    database.perform(KEPT_OPERATION)
    dump = database.dump()
    for kept in (
        'ADD CONSTRAINT "the ""Key""" PRIMARY KEY ("Région") WITH (fillfactor=\'60\', deduplicate_items=off)',
        'CLUSTER ON "the ""Key"""',
        'REPLICA IDENTITY USING INDEX "the ""Key"""',
        "IS 'the key'",
        "IS 'its index'",
    ):
        assert kept in dump


def test_not_null_that_a_key_has_made_the_partitions_own_is_told(database: Database, major: int) -> None:
    if major < 18:
        return  # NOT NULL has no owner yet
    database.run(
        "create table parts (id int not null) partition by list (id);"
        "create table parts_1 partition of parts for values in (1)"
    )
    before = database.dump()
    key = CreatePrimaryKeyOnline("parts_pkey", "parts", ["id"])
    told = [event.text for event in database.perform(key) if isinstance(event, Note)]
    assert told == [
        "the partitions get a NOT NULL of their own on the key's columns, and keep it when the parent's is dropped"
    ]
    database.perform(key.reverse())
    assert database.dump() == before
    told = [event.text for event in database.perform(DropNotNull("parts", "id")) if isinstance(event, Note)]
    assert told == ["these keep the NOT NULL of column 'id' that is their own: public.parts_1"]


IN_TREE = """
create table part (id int, k int, b int) partition by range (k);
create table part1 partition of part for values from (0) to (10);
create table part2 partition of part for values from (10) to (20);
create table part3 partition of part for values from (20) to (30);
create table part4 partition of part for values from (30) to (40);
"""
# of the application, whose names are those that pgopt would choose
ONLY_NAMED = """
alter table part1 add constraint part1_uq unique (id);
create unique index part2_uq on part2 (b);
"""
WHOLE = "alter table part add constraint uq unique (id, k);"
INTERRUPTED = """
alter table only part add constraint uq unique (id, k);
alter table part3 add constraint part3_uq unique (id, k);
create unique index part4_uq on part4 (id, k);
"""


@pytest.mark.parametrize("columns", [["id", "k"], []], ids=["defined", "bare"])
@pytest.mark.parametrize("setup", [WHOLE, INTERRUPTED], ids=["whole", "interrupted"])
def test_a_drop_leaves_keys_of_partitions_that_only_have_its_names(
    database: Database, setup: str, columns: list[str]
) -> None:
    database.run(IN_TREE + ONLY_NAMED + setup)
    database.perform(DropUniqueConstraintOnline("uq", "part", columns))
    assert database.rows(
        "select indexrelid::regclass::text from pg_index where indrelid::regclass::text ~ '^part'"
    ) == [
        ("part1_uq",),
        ("part2_uq",),
    ]


def test_a_key_that_is_given_up_leaves_what_only_has_its_names(database: Database) -> None:
    database.run(IN_TREE + "insert into part values (1, 1), (1, 1), (1, 11), (1, 11)")
    before = database.dump()

    def name_another(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.startswith("build part1_uq"):
            database.run("create unique index part2_uq on part2 (b)")

    with (
        pytest.raises(PgoptError, match="could not create unique index"),
        database.migration(pgopt_report=name_another) as context,
        context.begin_transaction(_per_migration=True),
    ):
        Operations(context).invoke(CreateUniqueConstraintOnline("uq", "part", ["id", "k"]))
    database.run("drop index part2_uq")
    assert database.dump() == before


@pytest.mark.parametrize("partitioned", [False, True], ids=["table", "partition"])
@pytest.mark.parametrize("others", ["(b)", "(b) where a > 1", "(a, b) include (c)"])
def test_a_replacement_refuses_indexes_of_others_that_have_its_name(
    database: Database, others: str, *, partitioned: bool
) -> None:
    by, leaf = (" partition by range (a)", "leaf") if partitioned else ("", "tt")
    database.run(f"create table tt (a int not null, b int not null, c int, constraint pk primary key (a)){by}")
    if partitioned:
        database.run("create table leaf partition of tt for values from (1) to (9)")
    name = "leaf_pkey" if partitioned else "pk"
    database.run(f"create unique index {name}_pgopt_new on {leaf} {others}")
    before = database.dump()
    said = (
        f"index public.{name}_pgopt_new on public.{leaf} has the name that the replacement of {name} takes for a while"
    )
    with pytest.raises(InvalidOperation, match=said):
        database.perform(ReplacePrimaryKeyOnline("pk", "tt", ["a", "b"], old=["a"]))
    assert database.dump() == before


@pytest.mark.parametrize("then", ["again", "back"])
def test_a_replacement_of_a_key_takes_up_what_an_interrupted_one_left(database: Database, then: str) -> None:
    operation = ReplacePrimaryKeyOnline("pk", "tt", ["a", "b"], old=["a"])
    database.run(
        "create table tt (a int not null, b int not null, constraint pk primary key (a) with (fillfactor = 70))"
    )
    before = database.dump()

    def stop(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.startswith("swap "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.perform(operation, pgopt_report=stop)
    assert database.value("select to_regclass('pk_pgopt_new')") is not None
    if then == "again":
        database.perform(operation)
        assert database.value("select to_regclass('pk_pgopt_new')") is None
    database.perform(operation.reverse())
    assert database.dump() == before


@pytest.mark.parametrize("more", ["", " not valid"])
def test_a_check_of_a_partition_is_not_swallowed(database: Database, more: str) -> None:
    database.run(
        "create table tt (id int, a int) partition by list (id); create table tt1 partition of tt for values in (1);"
        f"alter table tt1 add constraint c check (a > 0){more}"
    )
    before = database.dump()
    with pytest.raises(InvalidOperation, match=r"partition public\.tt1 has a constraint c of its own"):
        database.perform(CreateCheckConstraintOnline("c", "tt", "a > 0"))
    assert database.dump() == before


def test_not_null_that_goes_with_the_parent_s_is_told(database: Database, major: int) -> None:
    database.run(
        "create table tt (id int, a int) partition by list (id); create table tt1 partition of tt for values in (1);"
        "create table tt2 partition of tt for values in (2); alter table tt1 alter a set not null"
    )
    before = database.dump()
    operation, said = SetNotNullOnline("tt", "a"), list[Event]()
    database.perform(operation, pgopt_report=said.append)
    told = [each.text for each in said if isinstance(each, Note)]
    # from 18 on it is a constraint of the partition's own, which stays
    assert told == (
        []
        if major >= 18
        else ["these have NOT NULL of column 'a' of their own and lose it when this is undone: public.tt1"]
    )
    database.perform(operation.reverse())
    assert (database.dump() == before) == (major >= 18)


def test_a_key_that_becomes_the_replica_identity_while_its_drop_waits_stays(database: Database) -> None:
    database.run("create table t (a int not null, constraint uq unique (a))")
    with database.connect() as other, ThreadPoolExecutor() as threads:
        other.execute("begin; alter table t replica identity using index uq")
        ours = threads.submit(database.perform, DropUniqueConstraintOnline("uq", "t"), settings=PATIENT)
        blocked = "select 1 from pg_stat_activity where pg_backend_pid() <> pid and wait_event_type = 'Lock'"
        try:
            wait_until("we wait", lambda: ours.done() or database.rows(blocked))
        finally:
            other.execute("commit")
        with pytest.raises(InvalidOperation, match=r"this would drop the replica identity of public\.t"):
            ours.result(60)
    assert database.value("select indisreplident from pg_index where indexrelid = 'uq'::regclass")
