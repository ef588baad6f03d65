"""Promise 2: interrupted at any statement, then run again or undone, and it ends where it would have ended, or began."""

from __future__ import annotations

import itertools
import os
import random
import signal
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgopt.errors import RunnerBusy
from tests.contract.conftest import jobs_of, rules_of, schema_of
from tests.contract.examples import EXAMPLES
from tests.contract.failures import MOST, Failure, Fuse, ending, fail, obstacles, spawn
from tests.contract.killpoints import IN_TURN, SEED, TALLY, ending_in_turn, in_turn
from tests.databases import wait_until
from tests.integration.alembic_project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from alembic.operations import MigrateOperation
    from psycopg import Connection

    from tests.contract.examples import Example
    from tests.contract.failures import Obstacle
    from tests.databases import Database

FINGERPRINT = (Path(__file__).parent / "fingerprint.sql").read_text()
NAMED = [example for example in EXAMPLES if example.named]

# the same statements each time, however slow the machine is: the first of many attempts has a tenth of a second
STEADY = {"batch_seconds": 1000.0, "replication_lag": 0.0, "lock_attempts": 1}

# a turn of each failure, and fifteen times as many in which there is none
TURNS = 16 * len(MOST)

# where each has few statements to fail at, all share a database
TOGETHER = [MOST] if IN_TURN else [[failure] for failure in MOST]

# where rows are kept that an action changes
STASH = "stash"

State = list[tuple[str, str, str]]

# one of these tests fails, restores and runs again hundreds of times
pytestmark = pytest.mark.timeout(1800)

named = pytest.mark.parametrize("example", NAMED, ids=str, indirect=True)
each_failure = pytest.mark.parametrize("failure", list(Failure), ids=lambda failure: failure.name.lower())


@dataclass
class Case:
    """An example in a database that it is carried out on again and again."""

    example: Example
    database: Database
    looking: Connection[Any]
    """The connection that looks on."""
    fuse: Fuse = field(init=False)
    before: State = field(init=False)
    after: State = field(init=False)
    twice: State = field(init=False)
    statements: list[str] = field(init=False)
    onlookers: Sequence[int] = ()
    known: State | None = field(default=None, init=False)
    """What was seen last, until something is carried out again."""

    def __post_init__(self) -> None:
        self.onlookers = self.others()
        if not self.example.reversible:
            self._stash()
        self.fuse = Fuse(self.database.engine())
        self.before, dump = self.state(), self.dump()
        self.run()
        self.statements = list(self.fuse.sent)
        self.after = self.state()
        self.dumps = dump, self.dump()
        self.run()
        self.twice = self.state()
        assert self.twice == self.after or not self.example.reversible
        self.restore()

    def run(self) -> None:
        """Carry the operation out."""
        self._perform(self.example.operation)

    def undo(self) -> None:
        """Carry its inverse out."""
        self._perform(*self.example.inverse)

    def _perform(self, *operations: MigrateOperation) -> None:
        self.known = None
        self.database.perform(*operations, engine=self.fuse.engine, settings=dict(STEADY))

    def restore(self) -> None:
        """Go back to where the example begins, by the inverse, or by the rows that were stashed."""
        if self.known == self.before:
            return
        self.fuse.set()
        if self.example.reversible:
            self.undo()
        else:
            self.looking.execute(self._restoring)
        assert changes(self.before, self.state()) == []

    @cached_property
    def _restoring(self) -> str:
        """The script that puts all rows back; making a database anew takes ten times as long."""
        tables = [name for what, name, _ in self.before if what == "rows"]
        return f"""
            begin;
            set local session_replication_role = replica;
            {"".join(self._restore_table(number, table) for number, table in enumerate(tables))}
            delete from pgopt.progress;
            commit;
        """

    def _restore_table(self, number: int, table: str) -> str:
        # a generated column is not to be written
        columns = self._ask(
            "select string_agg(quote_ident(attname), ', ') from pg_attribute"
            " where attrelid = %s::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
            table,
        )
        stash = f"{STASH}.table_{number}"
        return (
            f"delete from only {table};"
            f" insert into {table} ({columns}) overriding system value select {columns} from {stash};"
        )

    def _stash(self) -> None:
        self.looking.execute(f"create schema {STASH}")
        for number, table in enumerate(self.tables()):
            self.looking.execute(f"create table {STASH}.table_{number} as table only {table}")

    def state(self) -> State:
        """What is in the database: its schema with all that pg_dump tells, and a digest of each table's rows."""
        found: State = self.looking.execute(FINGERPRINT).fetchall()
        rules = [("rules", "", rules_of(self._ask)), ("jobs", "", jobs_of(self._ask))]
        self.known = found + rules + [("rows", table, self._digest(table)) for table in self.tables()]
        return self.known

    def tables(self) -> list[str]:
        """Give the application's tables that hold rows, quoted."""
        rows = self.looking.execute(
            "select oid::regclass::text from pg_class where relkind = 'r' and oid >= 16384"
            f" and relnamespace::regnamespace::text not in ('pgopt', '{STASH}') order by oid"
        )
        return [name for (name,) in rows]

    def dump(self) -> str:
        """What pg_dump writes."""
        return schema_of(self.database, self.example)

    def _digest(self, table: str) -> str:
        query = f"select count(*) || ' ' || md5(coalesce(string_agg(t::text, e'\\n' order by t::text), '')) from only {table} t"
        return str(self._ask(query))

    def finished(self) -> bool:
        """Whether batches are written down as finished."""
        if self._ask("select to_regclass('pgopt.progress')") is None:
            return False
        return bool(
            self._ask(
                "select exists (select from pgopt.progress) and every(finished_at is not null) from pgopt.progress"
            )
        )

    def _ask(self, query: str, *values: object) -> Any:
        return self.looking.execute(query, values or None).fetchall()[0][0]

    def others(self) -> list[int]:
        """Give the backends at work in the database."""
        rows = self.looking.execute(
            "select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend'"
        )
        return [pid for (pid,) in rows if pid not in self.onlookers]

    def waiting_for(self, obstacle: Obstacle) -> int | None:
        """Give the backend of a CONCURRENTLY statement that waits for an obstacle."""
        rows = self.looking.execute(
            "select pid from pg_stat_activity where %s = any(pg_blocking_pids(pid)) and query ~* ' concurrently '",
            [obstacle.pid],
        ).fetchall()
        return rows[0][0] if rows else None

    def alone(self) -> None:
        """Wait until the server has noticed that the client is gone."""
        wait_until("the end of the backend", lambda: not self.others())

    # -- failing ---------------------------------------------------------------------------------------------------------

    def interrupt(self, failure: Failure, points: Sequence[int]) -> None:
        """Fail at each of these statements, and run again; fail there again, and undo."""
        for at in points:
            for finish, end in ending_in_turn(self.endings(), at, TURNS):
                expected = end
                self.restore()
                assert fail(self.fuse, at, failure, self.run), (
                    f"statement {at} was not reached: {self._at(at, failure)}"
                )
                self.alone()
                self.fuse.set()
                if finish == self.run and self.finished():
                    # only what follows the last batch failed: outside of a revision this is another call, done anew
                    expected = self.twice
                finish()
                found = changes(expected, self.state())
                assert found == [], f"{finish.__name__} after {self._at(at, failure)}"
                TALLY.points[self.example.name] += 1

    def endings(self) -> list[tuple[Callable[[], None], State]]:
        """What is done after a failure, and where that must end."""
        return [(self.run, self.after), *([(self.undo, self.before)] if self.example.reversible else [])]

    def compare_dumps(self) -> None:
        """See that pg_dump finds no trace of all these failures, either."""
        self.restore()
        assert self.dump() == self.dumps[0]
        self.run()
        assert self.dump() == self.dumps[1]

    def _at(self, at: int, failure: Failure) -> str:
        return f"{failure} at statement {at} of {len(self.statements)}: {self.statements[at - 1][:200]}"


def changes(expected: State, found: State) -> list[tuple[str, Any]]:
    """What is missing, and what is there instead."""
    lost, new = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    return [("missing", row) for row in lost] + [("found", row) for row in new]


@pytest.fixture
def case(prepared: Database, example: Example) -> Iterator[Case]:
    """The example in a database that it is carried out on again and again."""
    with closing(prepared.connect()) as looking:
        yield Case(example, prepared, looking)


# -- between statements --------------------------------------------------------------------------------------------------


@pytest.mark.named
@pytest.mark.parametrize(
    "failures", TOGETHER, ids=lambda failures: " and ".join(each.name.lower() for each in failures)
)
@named
def test_named_examples_survive_each_failure_at_each_statement(case: Case, failures: Sequence[Failure]) -> None:
    before = TALLY.points[case.example.name]
    points = range(1, len(case.statements) + 1)
    for failure in failures:
        case.interrupt(failure, in_turn(points, MOST.index(failure), TURNS) if IN_TURN else points)
    case.compare_dumps()
    TALLY.named += TALLY.points[case.example.name] - before


@pytest.mark.drawn
def test_all_examples_survive_at_statements_drawn_by_the_seed(case: Case) -> None:
    draw = random.Random(f"{SEED} {case.example}")
    for failure in [draw.choice(list(Failure))] if IN_TURN else Failure:
        case.interrupt(failure, [draw.randint(1, len(case.statements))])
    case.compare_dumps()


@pytest.mark.kill
@each_failure
def test_all_examples_survive_each_failure_at_each_statement(case: Case, failure: Failure) -> None:
    case.interrupt(failure, range(1, len(case.statements) + 1))
    case.compare_dumps()


# -- inside of one statement ---------------------------------------------------------------------------------------------


@dataclass
class Stopped:
    """A run in a process of its own, whose backend waits inside of a CONCURRENTLY statement."""

    process: int
    backend: int
    obstacle: Obstacle


def stop_at_wait(case: Case, number: int, obstruct: Callable[[], Obstacle]) -> Stopped | None:
    """Let the operation run up to the n-th time that it waits for an old transaction, or to its end."""
    case.fuse.set()
    obstacle = obstruct()
    process = spawn(case.run)
    for count in range(1, number + 1):
        waiter = wait_until("a wait, or the end", lambda: case.waiting_for(obstacle) or ended(process))  # noqa: B023
        if waiter is True:
            obstacle.close()
            return None
        if count == number:
            return Stopped(process, waiter, obstacle)
        # the next one begins before the last one ends, or the statement would run through
        following = obstruct()
        obstacle.close()
        obstacle = following
    raise AssertionError


def ended(process: int) -> bool:
    """Whether a run has come to its end, which must be a good one."""
    pid, status = os.waitpid(process, os.WNOHANG)
    assert status == 0, "the run failed"
    return pid == process


class Stop(StrEnum):
    """What happens in the middle of a statement."""

    CANCELLED = "the statement is cancelled"
    TERMINATED = "the backend is terminated"
    KILLED = "the process is killed, and its backend goes on"


def stop(case: Case, stopped: Stopped, how: Stop) -> None:
    """End the run in the middle of its statement."""
    if how is Stop.KILLED:
        os.kill(stopped.process, signal.SIGKILL)
        assert ending(stopped.process) == -signal.SIGKILL
        # the server goes on without its client: nobody else may begin
        with pytest.raises(RunnerBusy, match=f"pid {stopped.backend} "):
            case.run()
    else:
        function = "pg_cancel_backend" if how is Stop.CANCELLED else "pg_terminate_backend"
        case.looking.execute(f"select {function}({stopped.backend})")
    stopped.obstacle.close()
    if how is not Stop.KILLED:
        assert ending(stopped.process) == 1
    case.alone()


# short steps do not wait: on a partitioned table they would give up before the first obstacle
CONCURRENT = [
    example
    for example in EXAMPLES
    if example.operation.directive.endswith("_concurrently")
    and "partition by" not in example.setup
    and (example.named or example.name in ("unique", "drop", "rebuild an index", "rebuild all of a table"))
]


@pytest.mark.parametrize("example", CONCURRENT, ids=str, indirect=True)
@pytest.mark.parametrize("how", list(Stop), ids=lambda how: how.name.lower())
def test_concurrent_statements_survive_at_each_of_their_waits(case: Case, how: Stop) -> None:
    waits = 0
    for number in itertools.count(1):
        for finish, expected in case.endings():
            case.restore()
            with obstacles(case.database.connect, case.tables()) as obstruct:
                stopped = stop_at_wait(case, number, obstruct)
                if stopped is None:
                    assert waits >= 2, "the statement did not wait"
                    return
                stop(case, stopped, how)
            finish()
            assert changes(expected, case.state()) == [], f"{finish.__name__} after {how} at wait {number}"
            TALLY.points[case.example.name] += 1
        waits = number


# -- batches in a revision -----------------------------------------------------------------------------------------------

COUNTS = "create table counts (id int primary key, n int not null default 0)"
# even keys, so that there is room between them
FILLED = "insert into counts select g * 2, 0 from generate_series(1, 190) g"


@pytest.fixture
def counting(database: Database, tmp_path: Path) -> Project:
    """A project on disk whose second revision counts each row up once."""
    database.run(COUNTS)
    project = Project.with_run(
        tmp_path,
        database.server.url(database.name),
        "settings=Settings(batch_rows=100, batch_most=100, batch_seconds=1000, replication_lag=0)",
    )
    project.revision("first", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    project.revision("second", 'op.backfill("counts", set={"n": "n + 1"})')
    project.upgrade("first")
    return project


@each_failure
def test_a_backfill_in_a_revision_does_each_row_once(counting: Project, database: Database, failure: Failure) -> None:
    fuse = Fuse(database.engine())

    def upgrade() -> None:
        with fuse.engine.connect() as connection:
            counting.upgrade(connection=connection)

    def begin_anew() -> None:
        database.run(f"truncate counts; {FILLED}; delete from pgopt.progress; delete from pgopt.run")
        database.run("update alembic_version set version_num = 'first'")

    begin_anew()
    fuse.set()
    upgrade()
    assert database.rows("select n, count(*) from counts group by n") == [(1, 190)]
    statements = list(fuse.sent)
    assert sum("update only" in statement for statement in statements) == 2
    # every statement for a killed process, and every third, each time others, for what is gentler
    points = range(1, len(statements) + 1)
    for at in points if failure is Failure.KILLED else points[list(Failure).index(failure) % 3 :: 3]:
        begin_anew()
        where = f"{failure} at statement {at} of {len(statements)}: {statements[at - 1][:200]}"
        assert fail(fuse, at, failure, upgrade), where
        wait_for_the_end(database)
        database.run(MEANWHILE)
        fuse.set()
        upgrade()
        # a writer's update counts a hundred
        assert database.rows("select n % 100, count(*) from counts where id % 2 = 0 group by 1") == [(1, 187)], where
        assert database.value("select count(*) from counts where id % 2 = 1 and n not in (0, 1)") == 0, where
        assert database.value("select count(*) from counts where n >= 100") == 4, where
        assert database.value("select version_num from alembic_version") == "second"
        assert database.value("select count(*) from pgopt.run") == 0
        assert database.value("select count(*) from pgopt.progress") == 0
        TALLY.points["backfill in a revision"] += 1


MEANWHILE = """
    insert into counts (id) values (-1), (1), (199), (201), (301), (9999);
    delete from counts where id in (2, 200, 380);
    update counts set n = n + 100 where id in (4, 198, 202, 378);
"""


def wait_for_the_end(database: Database) -> None:
    """Wait until the server has noticed that the client is gone."""
    wait_until(
        "the end of the backend",
        lambda: database.value(
            "select count(*) = 0 from pg_stat_activity where datname = current_database()"
            " and application_name = 'pgopt migration'"
        ),
    )
