"""What `--sql` writes, run where the database or the role is not as one would think."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt.operations import Backfill

if TYPE_CHECKING:
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
