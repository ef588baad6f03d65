"""Bloated indexes are rebuilt, one by one, by an operation and by a job, and what was gained is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgopt import InvalidOperation, NeedsDatabase, NotInstalled
from pgopt.jobs.runner import Runner
from pgopt.operations import (
    Analyze,
    CreateExtension,
    InstallMonitoring,
    InstallPgopt,
    ReindexBloated,
    ScheduleJob,
)
from pgopt.plan.events import StepStarted

if TYPE_CHECKING:
    from tests.databases import Database

ABOVE = "100 kB"
ASK = f"select pgopt.reindex_bloated('{ABOVE}')"


@pytest.fixture
def loose(database: Database) -> Database:
    """A database with two bloated indexes, in other schemas and by names that must be quoted, and one that is not."""
    database.perform(InstallPgopt(1), InstallMonitoring())
    database.run("""
        create schema "S x"; create table "S x"."T %s" (id int, n int) with (autovacuum_enabled = off);
        create table t (id int primary key) with (autovacuum_enabled = off);
        insert into "S x"."T %s" select n, n from generate_series(1, 20000) n; insert into t select generate_series(1, 20000);
        create index "Large %s" on "S x"."T %s" (id) with (fillfactor = 10);
        create index small on "S x"."T %s" (n) with (fillfactor = 20);
        alter index "S x"."Large %s" reset (fillfactor); alter index "S x".small reset (fillfactor)""")
    database.perform(Analyze("T %s", schema="S x"), Analyze("t"))
    return database


def written(database: Database) -> list[tuple[Any, ...]]:
    return database.rows(
        "select index_name, outcome, is_measured, bytes_after < bytes_before / 3 from pgopt.reindex order by id"
    )


def run_jobs(database: Database) -> dict[str, str | None]:
    """Run what is due, and give what was wrong with it."""
    with database.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return {ran.job: ran.error for ran in Runner(connection).round()}


def test_what_was_gained_is_written_down(loose: Database) -> None:
    before = loose.value("""select pg_relation_size('"S x"."Large %s"')""")
    events = loose.perform(ReindexBloated(above=ABOVE))
    assert any("of which" in each.label for each in events if isinstance(each, StepStarted))
    assert written(loose) == [("Large %s", "rebuilt", False, True), ("small", "rebuilt", False, True)]
    after = loose.value("""select pg_relation_size('"S x"."Large %s"')""")
    assert loose.rows("select bytes_before, bytes_after from pgopt.reindex order by id limit 1") == [(before, after)]
    assert loose.perform(ReindexBloated(above=ABOVE))
    assert len(written(loose)) == 2


def test_pgstattuple_decides_where_it_is_there(loose: Database) -> None:
    loose.run('create schema "E x"')
    loose.perform(CreateExtension("pgstattuple", schema="E x"))
    # the statistics say that there are few rows, and the index knows better
    loose.run("update pg_class set reltuples = 10 where relname in ('t', 't_pkey')")
    assert "t_pkey" in [
        name for (name,) in loose.rows(f"select index_name from pgopt.bloated_indexes(pg_size_bytes('{ABOVE}'))")
    ]
    loose.perform(ReindexBloated(above=ABOVE))
    assert written(loose) == [("Large %s", "rebuilt", True, True), ("small", "rebuilt", True, True)]


@pytest.mark.parametrize("by_job", [False, True])
def test_what_no_estimate_can_tell_is_measured(loose: Database, by_job: bool) -> None:  # noqa: FBT001
    loose.run("""
        drop table "S x"."T %s"; create table d (n int) with (autovacuum_enabled = off);
        insert into d select n % 3 from generate_series(1, 20000) n;
        create index same on d (n) with (fillfactor = 10); create index dense on d ((n + 1));
        alter index same reset (fillfactor); analyze d""")
    assert (loose.value(ASK), written(loose)) == (None, []), "nobody knows"
    loose.run("create extension pgstattuple")
    if by_job:
        assert loose.value(ASK) == "reindex index concurrently public.same"
        assert list(run_jobs(loose).values()) == [None]
        assert loose.value(ASK) is None
        assert written(loose) == [("same", "rebuilt", True, True), ("dense", "not bloated", True, None)]
    else:
        loose.perform(ReindexBloated(above=ABOVE))
        assert written(loose) == [("same", "rebuilt", True, True)]


def test_what_an_interrupted_run_has_rebuilt_is_told_by_the_next(loose: Database) -> None:
    loose.run("select pgopt.begin_reindex(b.index, b.bloat_bytes, false) from pgopt.bloated_indexes(100000) b")
    loose.run('reindex index concurrently "S x".small')
    loose.perform(ReindexBloated(above=ABOVE))
    assert written(loose) == [
        ("Large %s", "failed", False, None),
        ("small", "rebuilt", False, True),
        ("Large %s", "rebuilt", False, True),
    ]


def test_only_one_schema_and_only_what_is_said(loose: Database) -> None:
    loose.perform(ReindexBloated(above=ABOVE, schema="public"), ReindexBloated(above="1 GB"))
    assert written(loose) == []
    with pytest.raises(InvalidOperation, match="above='much'"):
        loose.perform(ReindexBloated(above="much"))
    with pytest.raises(NeedsDatabase, match="reindex_bloated"):
        loose.script(ReindexBloated())


def test_what_cannot_be_rebuilt_is_left_alone(loose: Database) -> None:
    loose.run(
        'drop table "S x"."T %s"; alter table t add constraint one exclude using btree (id with =) with (fillfactor = 10)'
    )
    loose.run("alter index one reset (fillfactor)")
    with loose.connect() as other:
        other.execute("create temp table mine (id int); insert into mine select generate_series(1, 20000)")
        other.execute(
            "create index on mine (id) with (fillfactor = 10); alter index pg_temp.mine_id_idx reset (fillfactor)"
        )
        other.execute("analyze mine; analyze t")
        there = loose.rows("select index_name from pgopt.index_bloat where unreliable is null and bloat_bytes > 100000")
        assert sorted(there) == [("mine_id_idx",), ("one",)]
        loose.perform(ReindexBloated(above=ABOVE))
    assert written(loose) == []


def test_it_needs_the_schema_and_the_views(database: Database) -> None:
    with pytest.raises(NotInstalled, match="install_pgopt"):
        database.perform(ReindexBloated())
    database.perform(InstallPgopt(1))
    with pytest.raises(NotInstalled, match="install_monitoring"):
        database.perform(ReindexBloated())


# -- by a job ------------------------------------------------------------------------------------------------------------


def tick(database: Database) -> dict[str, str | None]:
    """The job that measures is due; what it begins is run in the same round or the next."""
    database.run("update pgopt.job set next_due = clock_timestamp() where name = 'bloat'")
    return {**run_jobs(database), **run_jobs(database)}


def test_a_job_has_them_rebuilt_one_by_one_at_the_top_level(loose: Database) -> None:
    loose.perform(ScheduleJob("bloat", ASK, every="5 minutes"))
    assert tick(loose) == {"bloat": None, 'reindex "S x"."Large %s"': None}
    assert tick(loose) == {"bloat": None, 'reindex "S x".small': None}
    assert tick(loose) == {"bloat": None}
    assert written(loose) == [("Large %s", "rebuilt", False, True), ("small", "rebuilt", False, True)]
    assert loose.rows("select name from pgopt.job") == [("bloat",)]


def test_one_that_is_under_way_is_not_begun_again(loose: Database) -> None:
    assert loose.value(ASK) == 'reindex index concurrently "S x"."Large %s"'
    assert loose.value(ASK) is None
    assert loose.value("select count(*) from pgopt.job") == 1


def test_what_a_failed_one_left_behind_is_dropped(loose: Database) -> None:
    loose.value(ASK)
    with loose.connect() as busy:
        # it gives up the wait for this, when all is built
        busy.execute('begin; lock table "S x"."T %s" in row exclusive mode')
        loose.run(f"alter database {loose.name} set lock_timeout = '100ms'")
        (error,) = run_jobs(loose).values()
        assert "lock timeout" in str(error)
        busy.rollback()
    left = "select count(*) from pg_index where not indisvalid"
    assert loose.value(left) == 1
    loose.perform(ScheduleJob("bloat", ASK, every="5 minutes"))
    assert tick(loose) == {"bloat": None, "clear a failed reindex": None}
    assert loose.value(left) == 0
    assert tick(loose) == {"bloat": None, 'reindex "S x".small': None}
    tick(loose)
    assert [row[:2] for row in written(loose)] == [("Large %s", "failed"), ("small", "rebuilt")]
    loose.run("update pgopt.reindex set started_at = started_at - interval '2 hours'")
    tick(loose)
    tick(loose)
    assert [row[:2] for row in written(loose)][-1] == ("Large %s", "rebuilt")


def test_what_pgstattuple_denies_is_not_read_again(loose: Database) -> None:
    loose.perform(CreateExtension("pgstattuple"))
    loose.run("update pg_class set reltuples = 10 where relname in ('t', 't_pkey'); drop table \"S x\".\"T %s\"")
    assert loose.value(ASK) is None
    assert loose.value(ASK) is None
    assert written(loose) == [("t_pkey", "not bloated", True, None)]


def test_an_owner_who_is_no_superuser_may(loose: Database) -> None:
    owner = "pgopt_owner"
    loose.run(f"drop role if exists {owner}; create role {owner} login; create extension pgstattuple")
    try:
        loose.run(f"""grant usage on schema "S x" to {owner}; alter table "S x"."T %s" owner to {owner};
            grant create on schema "S x" to {owner}; grant all on all tables in schema pgopt to {owner};
            grant all on all sequences in schema pgopt to {owner}; grant all on all routines in schema pgopt to {owner};
            grant usage on schema pgopt to {owner}; grant create on database {loose.name} to {owner}""")
        loose.perform(ReindexBloated(above=ABOVE), engine=loose.engine(connect_args={"user": owner}))
        assert written(loose) == [("Large %s", "rebuilt", False, True), ("small", "rebuilt", False, True)]
    finally:
        loose.run(f"reassign owned by {owner} to current_user; drop owned by {owner}; drop role {owner}")
