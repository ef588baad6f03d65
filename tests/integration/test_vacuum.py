"""What is being vacuumed is waited for by a lock that keeps no application out, also what came with the operation itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pgopt import IntRange
from pgopt.errors import LockNotAcquired
from pgopt.operations import (
    CreateCheckConstraintOnline,
    CreateIndexConcurrently,
    CreateMaterializedView,
    FinalizePartitioning,
    InstallPgopt,
    Operation,
    PartitionTable,
    ReplaceMaterializedView,
    SplitPartition,
    StateOperation,
)
from pgopt.plan.events import Retrying, StepStarted
from tests.databases import IMPATIENT, Database, wait_until

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pgopt.plan.events import Event

TABLE = """
    create table orders (id int primary key, n int);
    insert into orders select g, g from generate_series(1, 300) g;
"""
BY_COPY = PartitionTable("orders", IntRange("id", step=100))
VIEW = CreateMaterializedView("sums", "select n % 3 as k, count(*) as c from orders group by 1", unique=["k"])
REPLACE = ReplaceMaterializedView("sums", "select n % 3 as k, count(*) + 0 as c from orders group by 1")
FINAL = FinalizePartitioning("orders")
CHECK = CreateCheckConstraintOnline("positive", "orders", "n > 0")
SPLIT = SplitPartition("orders", "orders_p0", at=["50"], into=["low", "high"])

CASES: dict[str, tuple[list[Operation], StateOperation, str, str]] = {
    "a copy": ([], BY_COPY, "swap public.orders", "orders_p100"),
    "the log of changes": ([], BY_COPY, "swap public.orders", "log%parted"),
    "what was kept": ([BY_COPY], BY_COPY.reverse(), "swap public.orders", "orders_pgopt_plain"),
    "pieces": ([BY_COPY, FINAL], SPLIT, "swap public.orders_p0", "high"),
    "the partitioned table itself": ([BY_COPY, FINAL], CHECK, "add positive", "orders"),
    "a view beside another": ([VIEW], REPLACE, "swap public.sums", "sums_pgopt_new"),
}
"""What is there, what is done, before which step somebody cleans up, and what."""


class Cleaner:
    """Somebody who cleans up a relation from the beginning of a step on, and gives way when he is waited for."""

    def __init__(self, database: Database, step: str, relation: str, *, gives_way: bool) -> None:
        self.database, self.step, self.relation, self.gives_way = database, step, relation, gives_way
        self.told: list[Event] = []
        self.saw: Future[None] | None = None
        self.left = ExitStack()
        self.threads = self.left.enter_context(ThreadPoolExecutor())

    def __call__(self, event: Event) -> None:
        """Hear what is told of the run."""
        self.told.append(event)
        if self.saw is None and isinstance(event, StepStarted) and event.label.startswith(self.step):
            connection = self.left.enter_context(self.database.connect())
            # as VACUUM does
            connection.execute("begin")
            relation = connection.execute(
                "select oid::regclass::text, relkind = 'm' from pg_class where relkind in ('r', 'p', 'm') and relname like %s",
                [self.relation],
            ).fetchall()
            assert len(relation) == 1, relation
            [(name, is_view)] = relation
            connection.execute(
                f"comment on materialized view {name} is 'cleaned'"
                if is_view
                else f"lock table only {name} in share update exclusive mode"
            )
            pid = connection.info.backend_pid
            waits = f"select count(*) > 0 from pg_stat_activity where {pid} = any(pg_blocking_pids(pid))"

            def watch() -> None:
                wait_until("the step waits", lambda: self.database.value(waits))
                if self.gives_way:
                    self.database.run("set lock_timeout = '50ms'; update orders set n = n where id = 150; table orders")
                    connection.execute("rollback")

            self.saw = self.threads.submit(watch)

    def retries(self) -> list[Retrying]:
        """The attempts that failed."""
        return [each for each in self.told if isinstance(each, Retrying)]


@pytest.fixture
def orders(database: Database) -> Database:
    """A table, and the pgopt schema."""
    database.run(TABLE)
    database.perform(InstallPgopt(1))
    return database


@pytest.mark.parametrize("case", CASES)
def test_nobody_waits_while_a_step_waits_for_what_is_vacuumed(orders: Database, case: str) -> None:
    before, operation, step, relation = CASES[case]
    orders.perform(*before)
    cleaner = Cleaner(orders, step, relation, gives_way=True)
    with cleaner.left:
        orders.perform(operation, pgopt_report=cleaner, settings={"lock_timeout": 5.0})
        assert cleaner.saw is not None, "nobody was in the way"
        cleaner.saw.result(20)
    assert cleaner.retries() == []


def test_who_does_not_give_way_is_named_and_keeps_nobody_out(orders: Database) -> None:
    cleaner = Cleaner(orders, "swap public.orders", "orders_pdefault", gives_way=False)
    with (
        cleaner.left,
        pytest.raises(
            LockNotAcquired,
            match=r"(?s)others kept it from .* or what came with it in 2 attempts.*lock table only orders_pdefault",
        ),
    ):
        orders.perform(BY_COPY, pgopt_report=cleaner, settings={**IMPATIENT, "lock_attempts": 2})
    assert len(cleaner.retries()) == 1
    orders.perform(BY_COPY)
    assert orders.value("select count(*) from orders") == 300


APPEND_ONLY = """
    create role keeper;
    create table audit (id int, n int);
    alter table audit owner to keeper;
    revoke update, delete, truncate on audit from keeper;
"""


def test_who_may_not_lock_his_table_is_not_kept_from_changing_it(database: Database) -> None:
    database.run(APPEND_ONLY)
    engine = database.engine(connect_args={"options": "-c role=keeper"})
    with database.connect() as cleaning, ThreadPoolExecutor() as threads:
        cleaning.execute("begin; lock table audit in share update exclusive mode")
        pid = cleaning.info.backend_pid
        waits = f"select count(*) > 0 from pg_stat_activity where {pid} = any(pg_blocking_pids(pid))"

        def give_way() -> None:
            wait_until("the step waits", lambda: database.value(waits))
            cleaning.execute("rollback")

        saw = threads.submit(give_way)
        database.perform(CreateCheckConstraintOnline("positive", "audit", "n > 0"), engine=engine)
        saw.result(20)
    assert database.value("select convalidated from pg_constraint where conname = 'positive'")


PARTED = """
    create table parted (id int, n int) partition by range (id);
    create table parted_0 partition of parted for values from (0) to (10);
    create index parted_0_n on parted_0 (n);
"""


def test_an_index_that_is_attached_waits_for_who_cleans_its_table_up(database: Database) -> None:
    database.run(PARTED)
    with ThreadPoolExecutor() as threads:
        saw: list[Future[None]] = []
        told: list[Event] = []

        def clean_up(event: Event) -> None:
            told.append(event)
            if not saw and isinstance(event, StepStarted) and event.label.startswith("attach "):
                cleaning = database.connect()
                # VACUUM keeps a lock on each index, too
                cleaning.execute(
                    "begin; lock table parted_0 in share update exclusive mode; select from parted_0 for update"
                )
                waits = f"select count(*) > 0 from pg_stat_activity where {cleaning.info.backend_pid} = any(pg_blocking_pids(pid))"

                def give_way() -> None:
                    wait_until("the step waits", lambda: database.value(waits))
                    database.run("set lock_timeout = '50ms'; select from parted_0 where n = 1")
                    cleaning.close()

                saw.append(threads.submit(give_way))

        database.perform(
            CreateIndexConcurrently("parted_n", "parted", ["n"]), pgopt_report=clean_up, settings={"lock_timeout": 5.0}
        )
        saw[0].result(20)
    assert [each for each in told if isinstance(each, Retrying)] == []
