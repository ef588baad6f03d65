"""What index operations refuse, in one sentence and before anything is changed."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import OperationalError
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from pgopt import InvalidOperation, NotReversible, PgoptError, StatementFailed
from pgopt.operations import (
    Backfill,
    CreateIndexConcurrently,
    DropIndexConcurrently,
    InstallPgopt,
    Operation,
    ReindexConcurrently,
    RenameIndex,
    ReplaceIndexConcurrently,
    UninstallPgopt,
)
from pgopt.plan.events import Event, Note, StepStarted
from tests.databases import PATIENT, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.databases import Database

SETUP = """
create table t (id int primary key, a int, b text, "userId" int, at timestamptz, j json);
create table other (id int, a int);
create table parts (id int, at date) partition by range (at);
create table parts_1 partition of parts for values from ('2024-01-01') to ('2025-01-01');
create view v as select * from t;
create index there on t (a);
create index elsewhere on other (a);
create index on_parts on parts (at);
create index commented on t (b);
comment on index commented is 'keep me';
create unique index identity on other (id);
alter table other alter id set not null;
alter table other replica identity using index identity;
create unique index referenced on t (b, a);
alter table other add b text, add foreign key (b, a) references t (b, a);
create index clustered on t ("userId");
alter table t cluster on clustered;
create index measured on t ((a + 1));
alter index measured alter column 1 set statistics 500;
insert into t (id, a) values (1, 1), (2, 1);
"""

REFUSED: dict[str, tuple[Operation, str]] = {
    "unknown table": (
        CreateIndexConcurrently("ix", "tickets", ["a"]),
        "there is no table 'tickets' on the search path",
    ),
    "unknown schema": (
        CreateIndexConcurrently("ix", "t", ["a"], schema="app"),
        "there is no table 't' in schema 'app'",
    ),
    "view": (CreateIndexConcurrently("ix", "v", ["a"]), "public.v is a view, not a table"),
    "unknown column": (CreateIndexConcurrently("ix", "t", ["nope"]), 'column "nope" does not exist'),
    "column of another case": (CreateIndexConcurrently("ix", "t", ["userid"]), 'column "userid" does not exist'),
    "unknown column to include": (
        CreateIndexConcurrently("ix", "t", ["a"], include=["nope"]),
        'column "nope" does not exist',
    ),
    "column name with a space": (CreateIndexConcurrently("ix", "t", ["a b"]), 'operator class "b" does not exist'),
    "predicate that does not parse": (
        CreateIndexConcurrently("ix", "t", ["a"], where="a = = 1"),
        "syntax error at or near",
    ),
    "predicate that is two statements": (
        CreateIndexConcurrently("ix", "t", ["a"], where="true; drop table t"),
        "cannot run inside a transaction block|cannot insert multiple commands",
    ),
    "predicate of no type": (CreateIndexConcurrently("ix", "t", ["a"], where="b"), "must be type boolean"),
    "predicate that is not immutable": (
        CreateIndexConcurrently("ix", "t", ["a"], where="at > now()"),
        "functions in index predicate must be marked IMMUTABLE",
    ),
    "expression that is not immutable": (
        CreateIndexConcurrently("ix", "t", ["date_trunc('day', at)"]),
        "functions in index expression must be marked IMMUTABLE",
    ),
    "method that cannot include": (
        CreateIndexConcurrently("ix", "t", ["a"], using="hash", include=["b"]),
        'access method "hash" does not support included columns',
    ),
    "method that cannot be unique": (
        CreateIndexConcurrently("ix", "t", ["a"], using="brin", unique=True),
        'access method "brin" does not support unique indexes',
    ),
    "unknown method": (CreateIndexConcurrently("ix", "t", ["a"], using="btre"), 'access method "btre" does not exist'),
    "type without an order": (CreateIndexConcurrently("ix", "t", ["j"]), "json has no default operator class"),
    "unknown storage parameter": (
        CreateIndexConcurrently("ix", "t", ["a"], storage={"fastupdate": True}),
        'unrecognized parameter "fastupdate"',
    ),
    "unknown tablespace": (
        CreateIndexConcurrently("ix", "t", ["a"], tablespace="ssd"),
        'tablespace "ssd" does not exist',
    ),
    "duplicates": (
        CreateIndexConcurrently("ux", "t", ["a"], unique=True),
        r"could not create unique index .*\(a\)=\(1\)",
    ),
    "unique on a partitioned table without its key": (
        CreateIndexConcurrently("ux", "parts", ["id"], unique=True),
        "unique constraint on partitioned table must include all partitioning columns",
    ),
    "unknown column of a partitioned table": (
        CreateIndexConcurrently("ix", "parts", ["nope"]),
        'column "nope" does not exist',
    ),
    "name of a table": (
        CreateIndexConcurrently("other", "t", ["a"]),
        "public.other, which is no index, has the name that an index of public.t would have",
    ),
    "name of an index of another table": (
        CreateIndexConcurrently("elsewhere", "t", ["a"]),
        "index public.elsewhere is on public.other, not on public.t",
    ),
    "another definition": (
        CreateIndexConcurrently("there", "t", ["a desc"], where="b is null"),
        (
            r"(?s)there is an index public.there already.*there is +CREATE INDEX there ON public.t USING btree \(a\)\n"
            r".*wanted is create index .there. on .*a. desc.* where b is null"
        ),
    ),
    "another definition, on partitions": (
        CreateIndexConcurrently("on_parts", "parts", ["at desc"]),
        "(?s)there is an index public.on_parts already.*there is .*wanted is",
    ),
    "another uniqueness": (
        CreateIndexConcurrently("there", "t", ["a"], unique=True),
        "(?s)there is .*wanted is .*unique",
    ),
    "index of a constraint": (DropIndexConcurrently("t_pkey", "t"), "belongs to the constraint t_pkey: drop that"),
    "index of a constraint, with its columns": (
        DropIndexConcurrently("t_pkey", "t", ["id"], unique=True),
        "belongs to the constraint t_pkey: drop that",
    ),
    "index under a foreign key": (
        DropIndexConcurrently("referenced", "t"),
        "is used by foreign keys of other: drop them first",
    ),
    "replica identity": (DropIndexConcurrently("identity", "other"), "is the replica identity of public.other"),
    "part of a parent's index": (
        DropIndexConcurrently("parts_1_at_idx", "parts_1"),
        "is a part of the index on the partitioned",
    ),
    "drop with another definition": (
        DropIndexConcurrently("there", "t", ["a"], where="a > 0"),
        "(?s)there is an index public.there already, and it is another one.*there is .*wanted is",
    ),
    "drop from another table": (DropIndexConcurrently("elsewhere", "t"), "is on public.other, not on public.t"),
    "drop of what is clustered on": (
        DropIndexConcurrently("clustered", "t", ["userId"]),
        "is clustered on, which would not",
    ),
    "drop of one with statistics": (DropIndexConcurrently("measured", "t", ["(a + 1)"]), "has statistics targets"),
    "drop of one with a comment that is not said": (
        DropIndexConcurrently("commented", "t", ["b"]),
        "has the comment 'keep me', which would not come back: say comment=",
    ),
    "replace of what is not there": (
        ReplaceIndexConcurrently("nope", "t", ["a"], old=["b"]),
        "there is no index 'nope' on public.t to replace: create it",
    ),
    "replace of another definition": (
        ReplaceIndexConcurrently("there", "t", ["b"], old=["a", "b"]),
        "(?s)there is an index public.there already, and it is another one.*there is .*wanted is",
    ),
    "replace of one with a comment that is not said": (
        ReplaceIndexConcurrently("commented", "t", ["a", "b"], old=["b"]),
        "has the comment 'keep me', which would not come back",
    ),
    "replace by a wrong definition": (
        ReplaceIndexConcurrently("there", "t", ["nope"], old=["a"]),
        'column "nope" does not',
    ),
    "replace by a unique one over duplicates": (
        ReplaceIndexConcurrently("there", "t", ["a"], unique=True, old=["a"]),
        "could not create unique index",
    ),
    "replace of another definition on partitions": (
        ReplaceIndexConcurrently("on_parts", "parts", ["id"], old=["id", "at"]),
        "(?s)there is an index public.on_parts already, and it is another one",
    ),
    "replace the index of a constraint": (
        ReplaceIndexConcurrently("t_pkey", "t", ["id", "a"], unique=True),
        "belongs to the constraint t_pkey",
    ),
    "create of the index of a constraint": (
        CreateIndexConcurrently("t_pkey", "t", ["id"], unique=True),
        "index public.t_pkey belongs to the constraint t_pkey: choose another name",
    ),
    "rename of what is not there": (RenameIndex("nope", "ix"), "there is no index 'nope'"),
    "rename to what is there": (RenameIndex("there", "elsewhere"), "there is an index public.elsewhere already"),
    "rename to the name of a table": (RenameIndex("there", "other"), "other.* already"),
    "rename of a table": (RenameIndex("other", "ix"), "there is no index 'other'"),
    "rebuild of what is not there": (ReindexConcurrently("nope"), "there is no index 'nope'"),
    "rebuild of an unknown table": (ReindexConcurrently(table="nope"), "there is no table 'nope'"),
}


@pytest.mark.parametrize(("operation", "said"), REFUSED.values(), ids=REFUSED)
def test_refusal_is_one_clear_error_and_changes_nothing(database: Database, operation: Operation, said: str) -> None:
    database.run(SETUP)
    before, rows = database.dump(), database.contents()
    with pytest.raises(PgoptError, match=said) as caught:
        database.perform(operation)
    assert str(caught.value).startswith(f"{operation.title}: ")
    assert "Traceback" not in str(caught.value)
    assert (database.dump(), database.contents()) == (before, rows)
    assert database.rows("select indexrelid::regclass from pg_index where not indisvalid") == []


def test_of_two_indexes_on_the_search_path_neither_is_renamed(database: Database) -> None:
    database.run("create schema one; create schema two; create table one.t (id int); create table two.t (id int)")
    database.run("create index ix_new on one.t (id); create index ix_old on two.t (id)")
    engine = database.engine(connect_args={"options": "-c search_path=one,two"})
    both = (
        "two.ix_old and one.ix_new are both on the search_path, so which is to be renamed cannot be told: say schema="
    )
    with pytest.raises(InvalidOperation, match=both):
        database.perform(RenameIndex("ix_old", "ix_new"), engine=engine)
    database.perform(RenameIndex("ix_old", "ix_new", schema="two"), engine=engine)
    found = "select to_regclass('one.ix_new'), to_regclass('two.ix_new'), to_regclass('two.ix_old')"
    assert database.rows(found) == [("one.ix_new", "two.ix_new", None)]


def make(kind: type[Operation], *arguments: Any, **more: Any) -> Any:
    return lambda: kind(*arguments, **more)


WRONG = {
    "columns as one text": (
        make(CreateIndexConcurrently, "ix", "t", "a, b"),
        "columns='a, b' is one text: write a list",
    ),
    "a column that is no text": (make(CreateIndexConcurrently, "ix", "t", [1]), "index ix on t says 1: write SQL as"),
    "a condition that is no text": (make(CreateIndexConcurrently, "ix", "t", ["a"], where=5), "index ix on t says 5"),
    "a name that is no text": (make(CreateIndexConcurrently, 5, "t", ["a"]), "index_concurrently: name=5 is no text"),
    "no table": (make(CreateIndexConcurrently, "ix", None, ["a"]), "create_index_concurrently: table=None is no text"),
    "a comment that is no text": (make(CreateIndexConcurrently, "ix", "t", ["a"], comment=5), "comment=5 is no text"),
    "storage that is no mapping": (
        make(CreateIndexConcurrently, "ix", "t", ["a"], storage="x"),
        "storage='x' is no ma",
    ),
    "settings that are no mapping": (make(DropIndexConcurrently, "ix", "t", settings=5), "settings=5 is no mapping"),
    "unique that is neither": (make(CreateIndexConcurrently, "ix", "t", ["a"], unique=1), "unique=1 is neither True"),
    "a condition with the table's schema": (
        make(CreateIndexConcurrently, "ix", "t", ["a"], where="public.t.b > 5"),
        "'public.t.b > 5': a column of an index is named without its table's schema",
    ),
    "a column with the table's schema": (
        make(CreateIndexConcurrently, "ix", 't"x', ['lower("S".  "t""x".a)']),
        "a column of an index is named without its table's schema",
    ),
    "a key that is no list": (make(Backfill, "t", {"a": "1"}, key=None), "backfill: key=None is no list"),
    "a key of numbers": (make(Backfill, "t", {"a": "1"}, key=[1]), "backfill: key has 1, which is no text"),
    "a set that is no mapping": (make(Backfill, "t", "a = 1"), "backfill: set='a = 1' is no mapping"),
    "rows by a number": (make(Backfill, "t", {"a": "1"}, where=5), "backfill of t says where=5: write SQL as text"),
    "a version that is no number": (make(InstallPgopt, "x"), "install_pgopt: version='x' is no whole number"),
    "a version that there is not": (make(UninstallPgopt, 99), "not 99"),
    "include as one text": (make(CreateIndexConcurrently, "ix", "t", ["a"], include="b"), "include='b' is one text"),
    "no columns": (make(CreateIndexConcurrently, "ix", "t", []), "index ix on t has no columns"),
    "no name and no columns": (make(CreateIndexConcurrently, None, "t", []), "on t has no columns"),
    "name of 70 bytes": (make(CreateIndexConcurrently, "x" * 70, "t", ["a"]), "has 70 bytes, and PostgreSQL keeps 63"),
    "empty name": (make(CreateIndexConcurrently, "", "t", ["a"]), "an index on t has an empty name"),
    "NULLs of an index that is not unique": (
        make(CreateIndexConcurrently, "ix", "t", ["a"], nulls_not_distinct=True),
        "nulls_not_distinct says something of unique indexes only",
    ),
    "old definition with an unknown word": (
        make(ReplaceIndexConcurrently, "ix", "t", ["a"], old={"columns": ["b"], "wher": "a > 1"}),
        "old= of index ix says 'wher': it can say columns, comment, include",
    ),
    "old definition as one text": (
        make(ReplaceIndexConcurrently, "ix", "t", ["a"], old="b"),
        "old= of index ix says columns='b': write a list",
    ),
    "old definition without columns": (
        make(ReplaceIndexConcurrently, "ix", "t", ["a"], old={"where": "a > 1"}),
        "old= of index ix says columns=None: write a list",
    ),
    "new name of 70 bytes": (make(RenameIndex, "ix", "x" * 70), "has 70 bytes"),
    "a new name that is the old one": (make(RenameIndex, "ix", "ix"), "is to be renamed to the name that it has"),
    "rebuild of nothing": (make(ReindexConcurrently), "takes the name of an index, or table=, and not both"),
    "rebuild of two things": (make(ReindexConcurrently, "ix", table="t"), "takes the name of an index, or table="),
}


@pytest.mark.parametrize(("making", "said"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_where_they_are_written(making: Any, said: str) -> None:
    with pytest.raises(InvalidOperation, match=said):
        making()


def test_what_only_looks_like_a_schema_is_no_schema() -> None:
    assert CreateIndexConcurrently("ix", "t", ["(t.a)"], where="b <> 'public.t.b' and (c).t.d > 1").columns


def test_a_replacement_that_cannot_go_back_says_what_goes(database: Database) -> None:
    database.run(
        "create table t (a int, b int); create index ix on t (a) with (fillfactor = 70); comment on index ix is 'keep me';"
        "alter table t cluster on ix"
    )
    told = database.perform(ReplaceIndexConcurrently("ix", "t", ["a", "b"]))
    notes = [each.text for each in told if isinstance(each, Note)]
    assert notes == [
        "public.ix is dropped, and with it the comment 'keep me'",
        "public.ix is dropped, and with it the storage parameters fillfactor=70",
        "public.ix is dropped, and with it the mark of CLUSTER",
    ]


@pytest.mark.parametrize("kind", [DropIndexConcurrently, ReplaceIndexConcurrently])
def test_no_inverse_without_the_definition(kind: type[DropIndexConcurrently | ReplaceIndexConcurrently]) -> None:
    operation = DropIndexConcurrently("ix", "t") if kind is DropIndexConcurrently else kind("ix", "t", ["a"])
    with pytest.raises(NotReversible, match="so that it can be made again"):
        operation.reverse()


def test_derived_names_tell_definitions_apart() -> None:
    made = [
        CreateIndexConcurrently(None, "t", ["a"]),
        CreateIndexConcurrently(None, "t", ["a"], where="b is null"),
        CreateIndexConcurrently(None, "t", ["a"], where="b is not null"),
        CreateIndexConcurrently(None, "t", ["a"], include=["b"]),
        CreateIndexConcurrently(None, "t", ["a"], unique=True),
        CreateIndexConcurrently(None, "t", ["a"], using="hash"),
        CreateIndexConcurrently(None, "t", ["a desc"]),
        CreateIndexConcurrently(None, "t", ["lower(a)"]),
        CreateIndexConcurrently(None, "t", ["a"], unique=True, nulls_not_distinct=True),
        CreateIndexConcurrently(None, "t" * 60, ["a", "b"]),
        CreateIndexConcurrently(None, "t" * 60, ["a", "c"]),
    ]
    assert made[0].name == "ix_t_a"
    assert len({each.name for each in made}) == len(made)
    assert all(len(each.index_name.encode()) <= 63 for each in made)


def test_derived_name_is_stable() -> None:
    wanted = CreateIndexConcurrently(None, "t", ["a", "lower(b)"], where="c is null")
    assert CreateIndexConcurrently(None, "t", ["a", "lower(b)"], where="c is null") == wanted
    assert DropIndexConcurrently(None, "t", ["a", "lower(b)"], where="c is null").name == wanted.name


def test_drop_says_which_names_would_not_come_back(database: Database) -> None:
    database.run(
        "create table q (a int) partition by range (a); create table q1 partition of q for values from (0) to (9)"
    )
    database.run("create index ix_q on q (a)")
    events = database.perform(DropIndexConcurrently("ix_q", "q", ["a"]))
    assert any("q1_a_idx" in event.text for event in events if isinstance(event, Note))


IN_TREE = """
create table part (id int, k int, b text) partition by range (k);
create table part1 partition of part for values from (0) to (10);
create table part2 partition of part for values from (10) to (20);
"""
OTHER_NAMES = IN_TREE + "create index ix_b on part (b); create unique index part1_ix_b on part1 (id) where k > 3"
# as an interrupted build leaves it: on the parent alone, with one part built and another not attached
INTERRUPTED = IN_TREE + (
    "create index ix_b on only part (b); create index part1_ix_b on part1 (b);"
    " create unique index part2_ix_b on part2 (id) where k > 3"
)


@pytest.mark.parametrize("columns", [["b"], []], ids=["defined", "bare"])
@pytest.mark.parametrize(
    ("setup", "left"), [(OTHER_NAMES, "part1_ix_b"), (INTERRUPTED, "part2_ix_b")], ids=["whole", "interrupted"]
)
def test_a_drop_leaves_indexes_of_partitions_that_only_have_its_names(
    database: Database, setup: str, left: str, columns: list[str]
) -> None:
    database.run(setup)
    database.perform(DropIndexConcurrently("ix_b", "part", columns))
    assert database.rows(
        "select indexrelid::regclass::text from pg_index where indrelid::regclass::text ~ '^part'"
    ) == [(left,)]


@pytest.mark.parametrize("old", [["a"], None], ids=["defined", "bare"])
@pytest.mark.parametrize("name", ["ix_pgopt_new", "ix_pgopt_old"])
@pytest.mark.parametrize("on", ["t (b)", "other (a)"])
def test_a_replacement_refuses_indexes_of_others_that_have_its_names(
    database: Database, name: str, on: str, old: list[str] | None
) -> None:
    database.run("create table t (a int, b int); create table other (a int); create index ix on t (a)")
    database.run(f"create index {name} on {on}")
    before = database.dump()
    said = f"index public.{name} on public.{on.split(maxsplit=1)[0]} has the name that the replacement of ix takes for a while"
    with pytest.raises(InvalidOperation, match=said):
        database.perform(ReplaceIndexConcurrently("ix", "t", ["a", "b"], old=old))
    assert database.dump() == before


@pytest.mark.parametrize("name", ["ix_pgopt_new", "ix_pgopt_old"])
def test_a_replacement_refuses_a_table_that_has_its_name(database: Database, name: str) -> None:
    database.run(f"create table t (a int, b int); create index ix on t (a); create table {name} ()")
    before = database.dump()
    with pytest.raises(InvalidOperation, match=f"public.{name} has the name that the replacement of ix takes"):
        database.perform(ReplaceIndexConcurrently("ix", "t", ["a", "b"], old=["a"]))
    assert database.dump() == before


@pytest.mark.parametrize("table", ["t", "part"])
def test_a_replacement_without_the_old_definition_may_be_interrupted_before_its_last_step(
    database: Database, table: str
) -> None:
    database.run("create table t (k int, b text);" + IN_TREE)
    database.run(f"create index ix on {table} (k)")

    def stop(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.startswith("drop ix_pgopt_old"):
            raise KeyboardInterrupt

    operation = ReplaceIndexConcurrently("ix", table, ["b"])
    with pytest.raises(KeyboardInterrupt):
        database.perform(operation, pgopt_report=stop)
    assert database.value("select to_regclass('ix_pgopt_old')")
    database.perform(operation)
    assert not database.value("select to_regclass('ix_pgopt_old')")


GONE = {
    "detached": ("attach part1_ix", "alter table part detach partition part1"),
    "dropped": ("attach part1_ix", "drop table part1"),
    # the index of the partition above is not valid, either
    "deeper": ("attach part31_ix", "drop table part31"),
}


@pytest.mark.parametrize(("last", "gone"), GONE.values(), ids=GONE)
def test_an_index_becomes_valid_when_the_partition_goes_that_was_to_be_attached_last(
    database: Database, last: str, gone: str
) -> None:
    database.run(IN_TREE)
    database.run(
        "create table part3 partition of part for values from (20) to (30) partition by range (k);"
        "create table part31 partition of part3 for values from (20) to (25);"
        "create table part32 partition of part3 for values from (25) to (30)"
    )

    def go(event: Event) -> None:
        if isinstance(event, StepStarted) and event.label.startswith(last):
            database.run(gone)

    operation = CreateIndexConcurrently("ix", "part", ["k"])
    with pytest.raises(PgoptError):
        database.perform(operation, pgopt_report=go)
    database.perform(operation)
    assert database.value("select bool_and(indisvalid) from pg_index where indexrelid::regclass::text ~ 'ix$'")


def test_a_table_that_goes_before_a_step_is_named_with_the_way_out(database: Database) -> None:
    database.run("create table t (a int)")

    def go(event: Event) -> None:
        if isinstance(event, StepStarted):
            database.run("drop table t")

    said = 'could not build ix on public.t: relation "public.t" does not exist: if it was there when this began'
    with pytest.raises(StatementFailed, match=re.escape(said)):
        database.perform(CreateIndexConcurrently("ix", "t", ["a"]), pgopt_report=go)


TREE = """
create table tree (id int not null, a int not null) partition by list (id);
create table tree1 partition of tree for values in (1);
create unique index ix on tree (a, id);
"""
PARTS = {
    "replica identity": (
        "alter table tree1 replica identity using index tree1_a_id_idx",
        "index public.tree1_a_id_idx is the replica identity of public.tree1",
    ),
    "foreign key": (
        "create table c (a int, id int, foreign key (a, id) references tree1 (a, id))",
        "index public.tree1_a_id_idx is used by foreign keys of c",
    ),
    "cluster": (
        "cluster tree1 using tree1_a_id_idx",
        "index public.tree1_a_id_idx is what public.tree1 is clustered on",
    ),
    "comment": (
        "comment on index tree1_a_id_idx is 'mine'",
        "index public.tree1_a_id_idx has the comment 'mine', which would not come back: COMMENT ON INDEX ... IS NULL first",
    ),
    "storage": (
        "alter index tree1_a_id_idx set (fillfactor = 50)",
        r"index public.tree1_a_id_idx has storage parameters of its own \(fillfactor=50\)",
    ),
}


@pytest.mark.parametrize(("setup", "said"), PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("kind", ["drop", "replace"])
def test_what_hangs_on_a_partition_s_index_alone_is_not_lost(
    database: Database, kind: str, setup: str, said: str
) -> None:
    database.run(TREE + setup)
    old = {"columns": ["a", "id"], "unique": True}
    operation = (
        DropIndexConcurrently("ix", "tree", ["a", "id"], unique=True)
        if kind == "drop"
        else ReplaceIndexConcurrently("ix", "tree", ["id", "a"], unique=True, old=old)
    )
    before = database.dump()
    with pytest.raises(InvalidOperation, match=said):
        database.perform(operation)
    assert database.dump() == before


def test_a_constraint_of_a_partition_keeps_its_index(database: Database) -> None:
    database.run(
        TREE.replace("create unique index", "alter table tree1 add constraint mine unique (a, id); create unique index")
    )
    before = database.dump()
    with pytest.raises(InvalidOperation, match=r"index public\.mine belongs to the constraint mine of public\.tree1"):
        database.perform(DropIndexConcurrently("ix", "tree"))
    assert database.dump() == before


def test_a_comment_that_a_replacement_brought_goes_with_it(database: Database) -> None:
    database.run("create table t (a int); create index ix on t (a)")
    before = database.dump()
    operation = ReplaceIndexConcurrently("ix", "t", ["a"], comment="new", old=["a"])
    database.perform(operation)
    database.perform(operation.reverse())
    assert database.dump() == before


WAITING = (
    "select pid from pg_stat_activity where query ~* '^ *(reindex|drop).*concurrently' and wait_event_type = 'Lock'"
)


MEANWHILE = {
    "replica identity": ("alter table t replica identity using index ix", "is the replica identity of public.t"),
    "foreign key": ("create table r (a int references t (a))", "is used by foreign keys of r"),
    "constraint": ("alter table t add constraint ix unique using index ix", "belongs to the constraint ix"),
    "cluster": ("alter table t cluster on ix", "is what public.t is clustered on"),
    "comment": (
        "comment on index ix is 'mine'",
        "has the comment 'mine', which would not come back: say in old= comment=",
    ),
    "storage": (
        "alter index ix set (fillfactor = 70)",
        "index public.ix was changed while its replacement was built, and that change would be lost: run again",
    ),
    "another one": ("drop index ix; create unique index ix on t (a) where b > 0", "index public.ix was changed while"),
}


@pytest.mark.parametrize(("meanwhile", "said"), MEANWHILE.values(), ids=MEANWHILE)
def test_what_has_come_to_rest_on_an_index_while_its_replacement_was_built_is_kept(
    database: Database, meanwhile: str, said: str
) -> None:
    database.run("create table t (a int not null, b int); create unique index ix on t (a)")
    refuse_meanwhile(database, "t", meanwhile, said)
    assert database.value("select indkey::text from pg_index where indexrelid = 'ix'::regclass") == "1"


UNSAID = {
    "storage": "alter index ix set (fillfactor = 70)",
    "comment": "comment on index ix is 'mine'",
    "of a part": "comment on index tree1_a_id_idx is 'mine'",
    "storage of a part": "alter index tree1_a_id_idx set (fillfactor = 70)",
}


@pytest.mark.parametrize("meanwhile", UNSAID.values(), ids=UNSAID)
def test_what_is_said_of_an_index_while_it_is_replaced_is_told_before_it_goes(
    database: Database, meanwhile: str
) -> None:
    tree = "tree1" in meanwhile
    database.run(TREE if tree else "create table tree (a int, id int); create unique index ix on tree (a, id)")
    operation = ReplaceIndexConcurrently("ix", "tree", ["id", "a"], unique=True)
    name = "tree1_a_id_idx" if tree else "ix"
    with pytest.raises(InvalidOperation, match=f"index public.{name} was changed while its replacement was built"):
        database.perform(operation, pgopt_report=before_the_swap(database, meanwhile))
    told = database.perform(operation)
    assert [each.text for each in told if isinstance(each, Note) and name in each.text]


def test_what_has_come_to_rest_on_an_index_of_a_partition_meanwhile_is_kept(database: Database) -> None:
    database.run(TREE)
    meanwhile = "alter table tree1 replica identity using index tree1_a_id_idx"
    refuse_meanwhile(database, "tree", meanwhile, r"is the replica identity of public\.tree1")
    assert database.value("select indisreplident from pg_index where indexrelid = 'tree1_a_id_idx'::regclass")


def before_the_swap(database: Database, meanwhile: str) -> Callable[[Event], None]:
    """Have something done before a new index takes the place of the old one."""

    def report(told: Event) -> None:
        if isinstance(told, StepStarted) and told.label.startswith("swap"):
            database.run(meanwhile)

    return report


def refuse_meanwhile(database: Database, table: str, meanwhile: str, said: str) -> None:
    """Have something done before a new index takes the place of the old one, and see the exchange refused."""
    columns = ["a", "id"] if table == "tree" else ["a"]
    operation = ReplaceIndexConcurrently(
        "ix",
        table,
        ["id", "a"] if table == "tree" else ["a", "b"],
        unique=True,
        old={"columns": columns, "unique": True},
    )
    with pytest.raises(InvalidOperation, match=said):
        database.perform(operation, pgopt_report=before_the_swap(database, meanwhile))
    # what was there is there, and what was built beside it goes
    if "was changed" in said:
        with pytest.raises(InvalidOperation, match=r"there is an index public\.ix already, and it is another"):
            database.perform(operation.reverse())
        database.run("drop index ix; create unique index ix on t (a)")
    database.perform(operation.reverse())
    assert not database.value("select to_regclass('ix_pgopt_new')")


@pytest.mark.parametrize("tree", [False, True])
def test_an_index_that_becomes_the_replica_identity_while_its_drop_waits_stays(
    database: Database, *, tree: bool
) -> None:
    database.run(TREE if tree else "create table tree (id int not null); create unique index ix on tree (id)")
    index = "tree1_a_id_idx" if tree else "ix"
    table = "tree1" if tree else "tree"
    with database.connect() as other, ThreadPoolExecutor() as threads:
        other.execute(f"begin; alter table {table} replica identity using index {index}")
        ours = threads.submit(database.perform, DropIndexConcurrently("ix", "tree"), settings=PATIENT)
        blocked = "select 1 from pg_stat_activity where pg_backend_pid() <> pid and wait_event_type = 'Lock'"
        try:
            wait_until("we wait", lambda: ours.done() or database.rows(blocked))
        finally:
            other.execute("commit")
        with pytest.raises(InvalidOperation, match=r"replica identity of public\.tree1?"):
            ours.result(60)
    assert database.value(f"select indisreplident and indisvalid from pg_index where indexrelid = '{index}'::regclass")


@pytest.mark.parametrize(
    ("operation", "name", "until"),
    [
        (CreateIndexConcurrently("ix2", "tree", ["a"]), "tree1_ix2", "attach"),
        *(
            (
                ReplaceIndexConcurrently("ix", "tree", ["a"], old={"columns": ["a", "id"], "unique": True}),
                "tree1_ix_pgopt_new",
                until,
            )
            for until in ("attach", "swap")
        ),
    ],
    ids=["create", "replace", "swap"],
)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("tree detach partition tree1", "public.tree1 is no partition of public.tree any more"),
        ("tree1 rename to one", "public.one has another name"),
    ],
    ids=["detached", "renamed"],
)
def test_what_an_interrupted_build_has_left_on_a_partition_that_is_another_since_is_told(
    database: Database,
    operation: CreateIndexConcurrently | ReplaceIndexConcurrently,
    name: str,
    until: str,
    change: str,
    why: str,
) -> None:
    database.run(TREE + "create table tree2 partition of tree for values in (2)")

    def stop(told: Event) -> None:
        if isinstance(told, StepStarted) and told.label.startswith(until):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.perform(operation, pgopt_report=stop)
    database.run(f"alter table {change}")
    told = database.perform(operation.reverse())
    notes = [each.text for each in told if isinstance(each, Note) and name in each.text]
    # a part that is attached goes with the whole, whatever its table is called
    stays = "rename" not in change or until != "swap"
    assert [each.partition(":")[0] for each in notes] == [f"public.{name} stays, since {why}"] * stays


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("replaces", [False, True])
def test_what_is_left_on_a_partition_that_was_attached_anew_goes(
    database: Database,
    replaces: bool,  # noqa: FBT001
    half: bool,  # noqa: FBT001
) -> None:
    database.run(
        "create table deep (id int not null, a int) partition by list (id); create index ix on deep (a);"
        "create table deep1 partition of deep for values in (1) partition by list (a);"
        "create table deep1a partition of deep1 for values in (1); create table deep1b partition of deep1 for values in (2);"
        "create table deep2 partition of deep for values in (2)"
    )
    operation = (
        ReplaceIndexConcurrently("ix", "deep", ["a", "id"], old=["a"])
        if replaces
        else CreateIndexConcurrently("ix2", "deep", ["a", "id"])
    )

    def stop(told: Event) -> None:
        if isinstance(told, StepStarted) and told.label.startswith("attach"):
            raise KeyboardInterrupt

    before = database.dump()
    with pytest.raises(KeyboardInterrupt):
        database.perform(operation, pgopt_report=stop)
    if half:
        # as a build that was killed leaves it; ATTACH makes it a part all the same, and then nobody can drop it
        [leaf] = database.rows("select indexrelid from pg_index where indrelid = 'deep1a'::regclass and indnatts = 2")
        database.run(f"update pg_index set indisvalid = false where indexrelid = {leaf[0]}")
    database.run("alter table deep detach partition deep1; alter table deep attach partition deep1 for values in (1)")
    database.perform(operation)
    tables = "select indrelid::regclass::text, count(*) from pg_index where indisvalid group by 1 order by 1"
    every = [(name, 1 if replaces else 2) for name in ("deep", "deep1", "deep1a", "deep1b", "deep2")]
    assert [row for row in database.rows(tables) if row[0].startswith("deep")] == every
    assert database.value("select count(*) from pg_index where not indisvalid") == 0
    database.perform(operation.reverse())
    if not replaces:
        assert database.dump() == before


def test_an_index_of_a_partition_that_nobody_has_attached_stays(database: Database) -> None:
    database.run(TREE + "create unique index tree1_ix on tree1 (a, id)")
    drop = DropIndexConcurrently("ix", "tree", ["a", "id"], unique=True)
    database.perform(drop)
    assert database.value("select to_regclass('tree1_ix')")
    database.perform(drop)
    assert database.value("select to_regclass('tree1_ix')")
    notes: list[str] = []
    database.perform(
        drop.reverse(), pgopt_report=lambda told: notes.append(told.text) if isinstance(told, Note) else None
    )
    assert notes == ["public.tree1_ix is there already: it becomes a part of ix, and will be dropped with it"]


@pytest.mark.parametrize(
    "operation",
    [
        CreateIndexConcurrently("ix2", "tree", ["a"]),
        ReplaceIndexConcurrently("ix", "tree", ["a"], old={"columns": ["a", "id"], "unique": True}),
    ],
)
def test_a_name_that_an_index_of_a_partition_would_have_is_refused_before(
    database: Database, operation: Operation
) -> None:
    database.run(TREE + "create view tree1_ix2 as select; create sequence tree1_a_id_idx_pgopt_old")
    before = database.dump()
    with pytest.raises(InvalidOperation, match=r"public\.tree1_\w+(, which is no index,)? has the name that"):
        database.perform(operation)
    assert database.dump() == before


def test_a_name_that_a_part_of_another_index_has_is_refused_before(database: Database) -> None:
    create = CreateIndexConcurrently("a_ix", "tree", ["a"])
    database.run(TREE)
    database.perform(create)
    database.run("alter index a_ix rename to theirs")
    before = database.dump()
    with pytest.raises(
        InvalidOperation,
        match=r"index public\.tree1_a_ix is a part of public\.theirs, and has the name that the part of a_ix would have: rename it",
    ):
        database.perform(create)
    assert database.dump() == before


def test_what_was_built_to_replace_an_index_that_is_gone_is_named(database: Database) -> None:
    database.run("create table t (a int, b int); create index t_a_pgopt_new on t (b)")
    with pytest.raises(
        InvalidOperation,
        match=r"to replace: create it, and drop public\.t_a_pgopt_new, which was built to replace it",
    ):
        database.perform(ReplaceIndexConcurrently("t_a", "t", ["b"], old=["a"]))


def test_a_partition_of_another_role_is_refused_before(database: Database) -> None:
    database.run(TREE + "create role pgopt_owner")
    try:
        database.run("alter table tree owner to pgopt_owner; grant create on schema public to pgopt_owner")
        engine = create_engine(database.server.url(database.name), poolclass=NullPool)
        event.listen(engine, "connect", lambda made, _: made.execute("set role pgopt_owner") and made.commit())
        with pytest.raises(InvalidOperation, match=r"partition public\.tree1 belongs to another role"):
            database.perform(CreateIndexConcurrently("ix2", "tree", ["a"]), engine=engine)
        assert not database.value("select to_regclass('ix2')")
    finally:
        database.run("drop owned by pgopt_owner cascade; drop role pgopt_owner")


def test_a_unique_index_is_dropped_by_an_owner_who_may_not_read(database: Database) -> None:
    database.run("create table t (a int); create unique index ix on t (a); create role pgopt_owner")
    try:
        database.run("grant create on schema public to pgopt_owner; alter table t owner to pgopt_owner")
        database.run("revoke all on t from pgopt_owner")
        engine = create_engine(database.server.url(database.name), poolclass=NullPool)
        event.listen(engine, "connect", lambda made, _: made.execute("set role pgopt_owner") and made.commit())
        database.perform(DropIndexConcurrently("ix", "t"), engine=engine)
        assert not database.value("select to_regclass('ix')")
    finally:
        database.run("drop owned by pgopt_owner cascade; drop role pgopt_owner")


OWN_COMMENT = {
    "create": CreateIndexConcurrently("ix", "t", ["a"], comment="new"),
    "replace": ReplaceIndexConcurrently("ix", "t", ["a"], comment="new", old={"columns": ["a"], "comment": "old"}),
}


@pytest.mark.parametrize("operation", OWN_COMMENT.values(), ids=OWN_COMMENT)
def test_a_comment_that_nobody_has_said_is_not_written_over(database: Database, operation: Operation) -> None:
    database.run("create table t (a int); create index ix on t (a); comment on index ix is 'mine'")
    with pytest.raises(InvalidOperation, match="has the comment 'mine', which would not come back"):
        database.perform(operation)
    database.run("comment on index ix is null")
    database.perform(operation)
    assert database.value("select obj_description('ix'::regclass)") == "new"


def test_a_rebuild_waits_for_another_one_and_drops_nothing_of_it(database: Database) -> None:
    database.run("create table t (a int, b int, c text); create index on t (a); create index on t (b)")
    with database.connect() as old, database.connect() as other, ThreadPoolExecutor() as threads:
        old.execute("begin; insert into t values (1)")
        theirs = threads.submit(other.execute, "reindex table concurrently t")
        try:
            # one of all the indexes that are there already is what the server says to be built
            wait_until("it is being rebuilt", lambda: theirs.done() or database.rows(WAITING))
            ours = threads.submit(database.perform, ReindexConcurrently(table="t"))
            wait_until("we wait, too", lambda: ours.done() or len(database.rows(WAITING)) == 2)
        finally:
            old.execute("rollback")
        theirs.result(60)
        ours.result(60)
    assert database.rows(
        "select indexrelid::regclass::text from pg_index where indrelid = 't'::regclass order by 1"
    ) == [
        ("t_a_idx",),
        ("t_b_idx",),
    ]


def test_a_rebuild_says_what_it_leaves_as_it_is(database: Database) -> None:
    database.run("create table t (a int, b int4range, exclude using gist (b with &&)); create index on t (a)")
    database.run(
        "create index half on t (a); update pg_index set indisvalid = false where indexrelid = 'half'::regclass"
    )
    events = database.perform(ReindexConcurrently(table="t"))
    assert [told.text for told in events if isinstance(told, Note)] == [
        "half is left as it is, since it is not valid: drop it, or rebuild it by its name",
        "t_b_excl is left as it is: PostgreSQL cannot rebuild an exclusion constraint's index concurrently",
    ]


def test_a_rebuild_drops_what_an_interrupted_one_has_left(database: Database) -> None:
    database.run("create table t (a int, b int); create index on t (a); create index on t (b)")
    with database.connect() as old, database.connect() as other, ThreadPoolExecutor() as threads:
        old.execute("begin; insert into t values (1)")
        theirs = threads.submit(other.execute, "reindex table concurrently t")
        try:
            wait_until("it is being rebuilt", lambda: theirs.done() or database.rows(WAITING))
            database.run(f"select pg_terminate_backend({other.info.backend_pid}, 10000)")
        finally:
            old.execute("rollback")
        with pytest.raises(OperationalError):
            theirs.result(60)
    assert database.value("select count(*) from pg_index where indrelid = 't'::regclass") == 4
    database.perform(ReindexConcurrently(table="t"))
    assert database.value("select count(*) from pg_index where indrelid = 't'::regclass") == 2
