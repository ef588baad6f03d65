"""PL/pgSQL functions with variables of a row type: sessions that have called one go on after another took the place of its table."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pgopt import IntRange
from pgopt.operations import InstallPgopt, PartitionTable, ReplaceMaterializedView, SplitPartition
from pgopt.operations.base import StateOperation
from pgopt.plan import events
from tests.contract.examples.single_partitions import FULL
from tests.databases import wait_until

if TYPE_CHECKING:
    import psycopg

    from pgopt.operations import Operation
    from tests.databases import Database

TABLE = "create table t (id int primary key, k text); insert into t select g, 'k' || g from generate_series(1, 20) g;"
VIEW = TABLE + "create materialized view v as select id, k from t;"
COPY = PartitionTable("t", IntRange("id", step=1000))
ATTACH = PartitionTable("t", IntRange("id", step=1000), method="attach")
SPLIT = SplitPartition("tiny", "tiny_rest", at=[20, 30], into=["tiny_20"])
REPLACE = ReplaceMaterializedView("v", "select id, k || '!' as k from t", old="select id, k from t")


def function(table: str, name: str = "f", column: str = "k") -> str:
    """Make a function that gives one row's value by way of two variables of its type."""
    return (
        f"create function {name}(i int) returns text language plpgsql stable parallel safe cost 7 as $$"
        f" declare r {table}%rowtype; s {table}; begin select * into r from {table} where {table}.id = i; s := r; return s.{column};"
        " end $$;"
    )


# what there is, what was done to it before, what is done, of which relation the row is, its column, and the value before and after
SWAPS: dict[str, tuple[str, list[Operation], Operation, str, str, tuple[str, str]]] = {
    "copy": (TABLE, [], COPY, "t", "k", ("k7", "k7")),
    "copy back": (TABLE, [COPY], COPY.reverse(), "t", "k", ("k7", "k7")),
    "attach": (TABLE, [], ATTACH, "t", "k", ("k7", "k7")),
    "attach back": (TABLE, [ATTACH], ATTACH.reverse(), "t", "k", ("k7", "k7")),
    "split": (FULL, [], SPLIT, "tiny_rest", "n", ("9", "9")),
    "merge": (FULL, [SPLIT], SPLIT.reverse(), "tiny_rest", "n", ("9", "9")),
    "view": (VIEW, [], REPLACE, "v", "k", ("k7", "k7!")),
    "view of a table, copied": (VIEW, [], COPY, "v", "k", ("k7", "k7")),
    "view of a table, copied back": (VIEW, [COPY], COPY.reverse(), "v", "k", ("k7", "k7")),
    "view of a table, attached": (VIEW, [], ATTACH, "v", "k", ("k7", "k7")),
    "view of a table, attached back": (VIEW, [ATTACH], ATTACH.reverse(), "v", "k", ("k7", "k7")),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_sessions_that_have_called_a_function_go_on(database: Database, swap: str) -> None:
    text, before, operation, table, column, (old, new) = SWAPS[swap]
    # of a default there is a row that stays in it
    id_ = -5 if table == "tiny_rest" else 7
    database.run(text + "update tiny set n = 9 where id = -5" if table == "tiny_rest" else text)
    database.perform(InstallPgopt(1), *before)
    database.run(function(table, column=column))
    described = "select provolatile, proparallel, prosecdef, procost, proconfig from pg_proc where proname = 'f'"
    was = database.rows(described)
    with database.connect() as session:
        assert value(session, f"select f({id_})") == old
        database.perform(operation)
        assert value(session, f"select f({id_})") == new
        assert value(session, f"select f({id_})") == new
    assert database.rows(described) == was


def value(session: psycopg.Connection[Any], query: str) -> Any:
    row = session.execute(query).fetchone()
    return row and row[0]


@pytest.mark.parametrize("swap", ["copy", "attach", "view"])
def test_calls_that_wait_for_the_swap_go_on(database: Database, swap: str) -> None:
    text, _, operation, table, _, values = SWAPS[swap]
    database.run(text + function(table))
    database.perform(InstallPgopt(1))
    assert isinstance(operation, StateOperation)
    over = threading.Event()
    seen: list[str] = []

    def call() -> None:
        with database.connect() as session:
            while not over.is_set():
                seen.append(value(session, "select f(7)"))

    with ThreadPoolExecutor() as threads:
        calling = [threads.submit(call) for _ in range(4)]
        try:
            for _ in range(2):
                database.perform(operation, operation.reverse(), settings={"lock_attempts": 30})
        finally:
            over.set()
        for each in calling:
            each.result(30)
    assert set(seen) == set(values)


ODD = """
create schema "S x";
create table "Od'd $1" (id int primary key, k text);
insert into "Od'd $1" select g, 'k' || g from generate_series(1, 20) g;
create table log (k text);
create table other (id int);
create function "S x"."F ""f"(i int) returns text language plpgsql set application_name = 'a' as $$
    declare r "Od'd $1"; s "Od'd $1"; begin select * into r from "Od'd $1" where id = i; s := r; return s.k; end $$;
create function "S x"."F ""f"(i text, out o text) language plpgsql security definer as $$
    declare r "Od'd $1"%ROWTYPE; s "Od'd $1"; begin select * into r from "Od'd $1" where id = i::int; s := r; o := s.k; end $$;
create function noted() returns trigger language plpgsql as $$
    declare r "Od'd $1"; s "Od'd $1"; begin select * into r from "Od'd $1" limit 1; s := r; insert into log values (s.k); return new; end $$;
create trigger noted before insert on other for each row execute function noted();
create procedure "S x".p(i int, inout o text, out n int) language plpgsql security definer set search_path = public as $$
    declare r "Od'd $1"; s "Od'd $1"; begin select * into r from "Od'd $1" where id = i; s := r; o := s.k; n := 1; end $$;
create procedure "S x".p(i text) language plpgsql as $$
    declare r "Od'd $1"; s "Od'd $1"; begin select * into r from "Od'd $1" where id = i::int; s := r; end $$;
"""
CALLS = [
    'select "S x"."F ""f"(7)',
    """select "S x"."F ""f"('7')""",
    "insert into other values (1)",
    'call "S x".p(7, null, null)',
    """call "S x".p('7')""",
]


def test_functions_of_all_kinds_are_compiled_anew_and_stay_as_they_are(database: Database) -> None:
    database.run(ODD)
    database.perform(InstallPgopt(1))
    before = database.dump()
    there = PartitionTable("Od'd $1", IntRange("id", step=1000))
    with database.connect() as session:
        for operation in (None, there, there.reverse()):
            if operation is not None:
                database.perform(operation)
            for _ in range(2):
                for call in CALLS:
                    session.execute(call)
    assert database.dump() == before
    assert database.value("select count(*) from log") == 6


@pytest.mark.parametrize("column", ["ours", "theirs"])
def test_a_function_of_somebody_else_is_named_beforehand(database: Database, column: str) -> None:
    role = f"somebody_{database.name}_{column}"
    database.run(f"create role {role}; create role {role}_owner; grant create, usage on schema public to {role}")
    try:
        database.perform(InstallPgopt(1))
        database.run(TABLE + function("t") + function("t", "g") + f"alter function g owner to {role}_owner")
        if column == "ours":
            database.run(f"grant {role}_owner to {role}")
        database.run(
            f"alter table t owner to {role}; alter function f owner to {role}; grant usage on schema pgopt to {role};"
            f" grant all on all tables in schema pgopt to {role}; grant all on all sequences in schema pgopt to {role};"
            f" grant all on all functions in schema pgopt to {role}; grant create on schema pgopt to {role}"
        )
        engine = database.engine(connect_args={"options": f"-c role={role}"})
        with database.connect() as session:
            for name in ("f", "g"):
                assert value(session, f"select {name}(7)") == "k7"
            told = database.perform(ATTACH, engine=engine)
            notes = [each.text for each in told if isinstance(each, events.Note) and "row type" in each.text]
            assert value(session, "select f(7)") == "k7"
            if column == "ours":
                assert not notes
                assert value(session, "select g(7)") == "k7"
                return
            (note,) = notes
            assert note.startswith(f"function public.g(i integer) is {role}_owner's: ")
            change = "alter function public.g(i integer) stable"
            assert note.endswith(f"until they reconnect or {role}_owner sends {change!r}")
            database.run(f"set role {role}_owner; {change}")
            assert value(session, "select g(7)") == "k7"
    finally:
        database.run(f"drop owned by {role}, {role}_owner cascade; drop role {role}, {role}_owner")


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize(
    "change",
    ["alter function f stable", function("t").replace("create", "create or replace"), "drop function f"],
    ids=["altered", "replaced", "dropped"],
)
def test_who_changes_a_function_at_that_moment_is_waited_for(database: Database, change: str, end: str) -> None:
    database.run(TABLE + function("t"))
    database.perform(InstallPgopt(1))
    with database.connect() as other, database.connect() as session, ThreadPoolExecutor() as threads:
        assert value(session, "select f(7)") == "k7"
        other.execute("begin")
        other.execute(change)
        doing = threads.submit(database.perform, COPY, settings={"lock_attempts": 50, "lock_timeout": 0.5})
        try:
            wait_until(
                "the swap waits",
                lambda: database.value(
                    f"select exists (select from pg_stat_activity where {other.info.backend_pid} = any(pg_blocking_pids(pid)))"
                ),
                seconds=60,
            )
            # as long as that lasts, it gives way to others
            assert value(session, "select count(*) from t") == 20
        finally:
            other.execute(end)
        doing.result(60)
        if change.startswith("drop") and end == "commit":
            return
        assert value(session, "select f(7)") == "k7"
    assert database.value("select provolatile::text from pg_proc where proname = 'f'") == "s"


def test_who_has_changed_a_function_and_waits_for_the_table_is_no_deadlock(database: Database) -> None:
    database.run(TABLE + function("t"))
    database.perform(InstallPgopt(1))
    with database.connect() as other, ThreadPoolExecutor() as threads:
        other.execute("begin")
        other.execute("alter function f stable")
        doing = threads.submit(database.perform, COPY, settings={"lock_attempts": 50, "lock_timeout": 5})
        wait_until(
            "the swap waits",
            lambda: database.value(
                f"select exists (select from pg_stat_activity where {other.info.backend_pid} = any(pg_blocking_pids(pid)))"
            ),
            seconds=60,
        )
        other.execute("insert into t values (100, 'k100')")
        other.execute("commit")
        doing.result(60)
    assert database.value("select f(100)") == "k100"


def test_functions_that_come_while_the_table_is_filled_are_found(database: Database) -> None:
    database.run(TABLE)
    database.perform(InstallPgopt(1))
    with database.connect() as session:

        def come(event: events.Event) -> None:
            if isinstance(event, events.StepStarted) and event.label.startswith("swap ") and not called:
                database.run(function("t"))
                called.append(value(session, "select f(7)"))

        called: list[str] = []
        database.perform(COPY, pgopt_report=come)
        assert called == ["k7"]
        assert value(session, "select f(7)") == "k7"
