"""Who writes to a partition itself, or makes and detaches one, while its table is on the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg.errors import RaiseException

from pgopt import IntRange
from pgopt.errors import InvalidOperation
from pgopt.operations import FinalizePartitioning, InstallPgopt, PartitionTable
from pgopt.plan.events import Event, StepFinished

if TYPE_CHECKING:
    from tests.databases import Database

TABLE = "create table t (id int primary key, v text); insert into t select g, 'v' from generate_series(1, 300) g"


def partitioned(database: Database, method: Any = "copy") -> PartitionTable:
    database.run(TABLE)
    convert = PartitionTable("t", by=IntRange("id", step=100000), default=True, method=method)
    database.perform(InstallPgopt(1), convert)
    return convert


@pytest.mark.parametrize("method", ["copy", "attach"])
@pytest.mark.parametrize(
    "write", ["insert into t_pdefault values (-5)", "update t_pdefault set v = 'w'", "delete from t_pdefault"]
)
def test_what_is_written_to_a_partition_that_is_none_any_more_is_refused(
    database: Database, method: Any, write: str
) -> None:
    convert = partitioned(database, method)
    # in a partition that does not become the table
    database.run("insert into t values (9999999, 'v')" if method == "copy" else "select")

    def kill(told: Event) -> None:
        if isinstance(told, StepFinished) and told.label.startswith(("swap public.t ", "take ")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.perform(convert.reverse(), pgopt_report=kill)
    before = database.rows("select * from t order by id")
    if method == "copy" or write.startswith("insert"):
        with pytest.raises(RaiseException, match="t_pdefault is no partition any more: write to the table itself"):
            database.run(write)
    database.perform(convert.reverse())
    assert database.rows("select * from t order by id") == before
    assert not database.value("select to_regclass('t_pdefault')")


BY_HAND = {
    "made": (
        "create table t_new partition of t for values from (100000000) to (200000000); insert into t_new values (100000001)",
        r"partition public\.t_new was added without pgopt, so t_pgopt_plain may lack rows of it",
    ),
    "attached": (
        "create table t_new (like t); insert into t_new values (100000001); alter table t attach partition t_new for values from (100000000) to (200000000)",
        r"partition public\.t_new was added without pgopt",
    ),
    "detached": (
        "alter table t detach partition t_p0",
        r"public\.t_p0 was detached without pgopt, and t_pgopt_plain still has its rows",
    ),
}


@pytest.mark.parametrize("late", [False, True], ids=["before", "meanwhile"])
@pytest.mark.parametrize(("by_hand", "said"), BY_HAND.values(), ids=BY_HAND)
def test_the_way_back_loses_no_row_of_partitions_that_came_or_went_by_hand(
    database: Database, by_hand: str, said: str, *, late: bool
) -> None:
    convert = partitioned(database)
    done = False

    def act(told: Event) -> None:
        nonlocal done
        if not done and (not late or isinstance(told, StepFinished)):
            database.run(by_hand)
            done = True

    if not late:
        act(StepFinished("", 0))
    with pytest.raises(InvalidOperation, match=rf"{said}.*op\.finalize_partitioning\('t'\) first"):
        database.perform(convert.reverse(), pgopt_report=act)
    before = database.rows("select * from t order by id")
    database.perform(FinalizePartitioning("t"), convert.reverse())
    assert database.rows("select * from t order by id") == before
    assert database.value("select relkind from pg_class where oid = 't'::regclass") == "r"
