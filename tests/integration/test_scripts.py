"""What `--sql` writes, run where the database or the role is not as one would think."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt.operations import Backfill, CreateCheckConstraintOnline, CreateIndexConcurrently
from tests.databases import held

if TYPE_CHECKING:
    from pgopt.operations import Operation
    from tests.databases import Database

TABLE = "create table t (id int primary key, n int); insert into t (id) select generate_series(1, 10)"


def test_rows_that_a_policy_hides_are_not_left_out(database: Database) -> None:
    role = f"owner_{database.name}"
    database.run(f"create role {role}; {TABLE}; alter table t owner to {role}")
    database.run("alter table t enable row level security, force row level security")
    database.run("create policy later on t using (id > 5)")
    # the settings of the session are afterwards what they were
    script = f"set role {role};\n{database.script(Backfill('t', {'n': '1'}, key=['id']))}show row_security;\n"
    try:
        with pytest.raises(AssertionError, match='query would be affected by row-level security policy for table "t"'):
            database.psql(script)
        assert database.value("select count(n) from t") == 0
        database.run("alter table t no force row level security")
        assert database.psql(script).splitlines()[2].strip() == "on"
        assert database.value("select count(n) from t") == 10
    finally:
        database.run(f"drop owned by {role} cascade; drop role {role}")


SLOW = """create function slow(n int) returns int language plpgsql immutable as
          'begin perform pg_catalog.pg_sleep(0.1); return n; end'"""


@pytest.mark.parametrize(
    "operation",
    [
        CreateIndexConcurrently("ix", "t", ["slow(id)"]),
        CreateCheckConstraintOnline("ck", "t", "slow(id) > 0"),
        Backfill("t", {"n": "slow(id)"}, key=["id"]),
    ],
    ids=lambda operation: operation.directive,
)
def test_a_script_outlives_the_timeouts_of_the_database(database: Database, operation: Operation, major: int) -> None:
    database.run(f"{TABLE}; {SLOW}")
    timeouts = ["statement_timeout", *(["transaction_timeout"] if major >= 17 else [])]
    for name in timeouts:
        database.run(f"alter database {database.name} set {name} = '500ms'")
    said = database.psql(database.script(operation) + "".join(f"show {name};\n" for name in timeouts))
    assert said.count("500ms") == len(timeouts), "they are given back"
    assert said.count("(1 row)") == len(timeouts), "nothing else is said"
    assert database.value("select bool_and(indisvalid) from pg_index where indrelid = 't'::regclass")


@pytest.mark.parametrize("key", [["last_key_0"], ["last_key_0", "found"]], ids=len)
def test_the_names_of_a_script_are_in_the_way_of_no_column(database: Database, key: list[str]) -> None:
    database.run(
        "create table t (found bool, last_key_0 int, n int, fresh bool, edge_0 int, end_0 int, last_0 int, last_1 int,"
        " pgopt_batches int, primary key (last_key_0, found));"
        " insert into t select g % 3 = 0, g, 0, g % 2 = 0, g, g, 0, 5000, 1 from generate_series(1, 3000) g"
    )
    sets = {"n": "last_key_0 + edge_0 + end_0", "fresh": "not fresh"}
    database.psql(database.script(Backfill("t", sets, where="found and not fresh", key=key)))
    done = "case when g % 6 = 3 then fresh and n = 3 * g else n = 0 and fresh = (g % 2 = 0) end"
    assert database.rows(f"select {done}, count(*) from t, lateral (select last_key_0) k (g) group by 1") == [
        (True, 3000)
    ]


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        (CreateCheckConstraintOnline("ck", "t", "n > 0"), "share"),
        (CreateIndexConcurrently("ix", "t", ["n"]), "exclusive"),
    ],
    ids=["short", "long"],
)
def test_no_patience_is_no_wait_without_end(
    database: Database, operation: Operation, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(TABLE)
    monkeypatch.setenv("PGOPT_LOCK_TIMEOUT", "0")
    monkeypatch.setenv("PGOPT_CONCURRENT_TIMEOUT", "0")
    script = database.script(operation)
    with (
        held(database, f"lock table t in {mode} mode"),
        pytest.raises(AssertionError, match="canceling statement due to lock timeout"),
    ):
        database.psql(script)
