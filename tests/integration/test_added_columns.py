"""Columns that are added online, beside the promises: what is refused, and what each row gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation, NeedsDatabase, NotInstalled
from pgopt.operations import AddColumnOnline, DropColumnOnline, InstallPgopt
from tests.contract.failures import Failure, Fuse, fail
from tests.integration.alembic_project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Database

TABLE = "create table t (id int primary key, a int); insert into t select g, g from generate_series(1, 2500) g;"
TOKEN = AddColumnOnline("t", "token", "uuid", default="gen_random_uuid()", nullable=False)


@pytest.fixture
def filled(database: Database) -> Database:
    """A table with rows in it."""
    database.run(TABLE)
    database.perform(InstallPgopt(1))
    return database


def test_each_row_gets_a_value_of_its_own(filled: Database) -> None:
    filled.perform(TOKEN)
    filled.run("insert into t values (0, 0)")
    assert filled.value("select count(distinct token) from t") == 2501


def test_a_sequence_numbers_the_rows(filled: Database) -> None:
    filled.run("create sequence numbers")
    filled.perform(AddColumnOnline("t", "number", "bigint", default="nextval('numbers')"))
    assert filled.rows("select count(distinct number), max(number) from t") == [(2500, 2500)]


def test_a_constant_needs_no_schema_and_one_step(database: Database) -> None:
    database.run(TABLE)
    before = database.value("select pg_relation_filenode('t')")
    database.perform(AddColumnOnline("t", "b", "timestamptz", default="now()", nullable=False))
    assert database.value("select pg_relation_filenode('t')") == before
    with pytest.raises(NotInstalled, match=r"op\.install_pgopt\(version=1\)"):
        database.perform(TOKEN)
    assert "token" not in database.dump()


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        (AddColumnOnline("t", "b", "bigserial"), "would number all existing rows"),
        (AddColumnOnline("t", "b", "int generated always as identity"), "would number all existing rows"),
        (
            AddColumnOnline("t", "b", "int generated always as (a * 2) stored"),
            "would be computed for all existing rows",
        ),
        (AddColumnOnline("t", "b", "int not null"), "says NOT NULL in its type: say nullable=False"),
        (AddColumnOnline("t", "b", "positive"), "rewrites all rows even without a default"),
        (AddColumnOnline("t", "b", "positive", default=1), "rewrites all rows even without a default"),
        (AddColumnOnline("t", "a", "bigint"), "there is a column 'a' of public.t already, and it is another one"),
        (
            AddColumnOnline("t", "a", "text", default="'x'", nullable=False),
            r"another one:\n  there is  integer, collation -\n  wanted is text default 'x'::text not null, collation ",
        ),
        (AddColumnOnline("m", "b", "int"), "is a materialized view"),
        (DropColumnOnline("t", "a", "int"), "is used by index t_a, rule _RETURN on view v: drop that first"),
        (DropColumnOnline("t", "a", "text"), "there is a column 'a' of public.t already, and it is another one"),
    ],
    ids=lambda value: repr(value) if not isinstance(value, str) else "",
)
def test_what_cannot_be_done_online_is_refused_before_anything_is_changed(
    filled: Database, operation: AddColumnOnline, sentence: str
) -> None:
    filled.run(
        "create domain positive as int check (value > 0); create table u (id int primary key); create index t_a on t (a);"
        " create view v as select a from t; create materialized view m as select id from t"
    )
    before = filled.dump()
    with pytest.raises(InvalidOperation, match=sentence):
        filled.perform(operation)
    assert filled.dump() == before


@pytest.mark.parametrize(
    "kind", ["int check (b > 0)", "int References u", "int constraint c unique", "int primary key"]
)
def test_constraints_have_operations_of_their_own(kind: str) -> None:
    with pytest.raises(InvalidOperation, match="in its type: add the constraint by its own operation"):
        AddColumnOnline("t", "b", kind)


@pytest.mark.parametrize(
    ("setup", "sentence"),
    [
        ("comment on column t.b is 'it''s'", r"has the comment 'it''s', which would not come back: COMMENT ON COLUMN"),
        ("grant select (b) on t to pg_monitor", "has grants of its own .*: REVOKE"),
        ("alter table t alter b set statistics 500", "has a statistics target, .*SET STATISTICS -1 first"),
        ("alter table t alter b set (n_distinct = -1)", r"has options \(n_distinct=-1\)"),
        ("alter table t alter b set storage external", "has a storage mode"),
        ("alter table t alter b set compression pglz", "has a compression"),
    ],
)
def test_what_a_dropped_column_would_lose_is_refused(database: Database, setup: str, sentence: str) -> None:
    database.run(f"{TABLE}; alter table t add b text; {setup}")
    before = database.dump()
    with pytest.raises(InvalidOperation, match=f"column 'b' of public.t {sentence}"):
        database.perform(DropColumnOnline("t", "b", "text"))
    assert database.dump() == before


def test_a_name_may_be_any_word() -> None:
    assert AddColumnOnline("t", "b", 'text collate "check"', default="'primary key'").type == 'text collate "check"'


def test_not_null_needs_a_default() -> None:
    with pytest.raises(InvalidOperation, match=r"column 'b' of t may not be NULL and has no default"):
        AddColumnOnline("t", "b", "int", nullable=False)


def test_a_script_cannot_know_whether_rows_would_be_made_anew(database: Database) -> None:
    with pytest.raises(NeedsDatabase, match=r"run it online$"):
        database.script(AddColumnOnline("t", "b", "int"))


def test_a_killed_revision_goes_on_where_it_was_and_can_be_undone(filled: Database, tmp_path: Path) -> None:
    project = Project.with_run(
        tmp_path,
        filled.server.url(filled.name),
        "settings=Settings(batch_rows=1000, batch_most=1000, batch_seconds=1000, replication_lag=0)",
    )
    project.revision(
        "b",
        f"op.invoke({TOKEN!r})".replace("(Add", "(o.Add"),
        f"op.invoke({TOKEN.reverse()!r})".replace("(Drop", "(o.Drop"),
    )
    path = tmp_path / "migrations" / "versions" / "b_.py"
    project.replace(path, "from pgopt import op\n", "from pgopt import op, operations as o\n")
    before = filled.dump()
    fuse = Fuse(filled.engine())

    def upgrade() -> None:
        with fuse.engine.connect() as connection:
            project.upgrade(connection=connection)

    fuse.set()
    upgrade()
    batches = [number for number, sent in enumerate(fuse.sent, 1) if sent.startswith("update only")]
    assert len(batches) == 3
    project.downgrade("base")
    assert filled.dump() == before
    for at in batches:
        # taken back first, so that nothing of that is in the way of the next
        assert fail(fuse, at, Failure.KILLED, upgrade)
        assert project.undo("b") == "upgrade"
        assert filled.dump() == before
        assert fail(fuse, at, Failure.KILLED, upgrade)
        fuse.set()
        upgrade()
        assert filled.value("select count(distinct token) from t") == 2500
        project.downgrade("base")
        assert filled.dump() == before


def test_a_column_of_an_inheritance_child_is_not_swallowed(filled: Database) -> None:
    filled.run(
        "create table k (token uuid default '00000000-0000-0000-0000-000000000000') inherits (t); insert into k values (0, 0, null)"
    )
    before, rows = filled.dump(), filled.contents()
    with pytest.raises(InvalidOperation, match=r"public\.k, which inherits from t, has a column 'token' of its own"):
        filled.perform(TOKEN)
    assert (filled.dump(), filled.contents()) == (before, rows)
