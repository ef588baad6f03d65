"""Rows go to an archive and come back, each of them once, whoever is at work or is killed meanwhile."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Engine

from pgopt import InvalidOperation, PgoptError
from pgopt.cli import restore, retention
from pgopt.operations import (
    CreateArchiveTable,
    CreateRetentionPolicy,
    DropArchiveTable,
    DropRetentionPolicy,
    InstallPgopt,
)
from tests.contract.failures import MOST, Fuse, fail
from tests.contract.ledger import Writer, at_work
from tests.databases import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from tests.databases import Database

NOW = "2024-06-15 12:00+00"
LEDGER = f"""
create table referred (id int primary key); insert into referred values (1);
create table ledger (
    id bigint generated always as identity, at timestamptz not null, amount int not null check (amount > 0),
    twice int generated always as (amount * 2) stored, ref int references referred, primary key (id)
);
create index on ledger (at);
insert into ledger (at, amount, ref) select timestamptz '{NOW}' - g * interval '1 hour', g, 1 from generate_series(1, 1000) g;
"""
ARCHIVE = CreateArchiveTable("ledger")
POLICY = CreateRetentionPolicy(
    "ledger", column="at", keep="1 day", action="archive", archive_to="ledger_archive", batch=50
)
BOTH = (
    "(select id, at, amount, twice, ref from ledger union all select id, at, amount, twice, ref from ledger_archive) b"
)
DIGEST = f"select count(*), sum(hashtextextended(b::text, 0)) from {BOTH}"


def archived(database: Database) -> None:
    database.run(LEDGER)
    database.perform(InstallPgopt(1), ARCHIVE, POLICY)


def apply(database: Database) -> None:
    database.run(f"call pgopt.apply_retention('ledger', '{NOW}')")


def count(database: Database, table: str) -> int:
    return int(database.value(f"select count(*) from {table}"))


def errors(database: Database) -> list[str]:
    return [error for (error,) in database.rows("select error from pgopt.retention_run where error is not null")]


def test_rows_move_as_they_are(database: Database) -> None:
    archived(database)
    before = database.rows(DIGEST)
    apply(database)
    assert (count(database, "ledger"), count(database, "ledger_archive")) == (24, 976)
    assert database.rows(DIGEST) == before


def test_a_key_that_is_in_the_archive_stops_it_with_the_row_intact(database: Database) -> None:
    archived(database)
    database.run("insert into ledger_archive (id, at, amount, twice) values (500, now(), 1, 1)")
    with pytest.raises(psycopg.errors.RaiseException, match="duplicate key value violates unique constraint"):
        apply(database)
    assert len(errors(database)) == 1
    assert count(database, "ledger where id = 500") == 1
    assert count(database, "ledger_archive where id = 500 and amount = 1") == 1
    assert count(database, "ledger") + count(database, "ledger_archive") == 1001


@pytest.mark.parametrize("table", ["ledger", "ledger_archive"])
def test_a_column_of_one_side_alone_stops_it(database: Database, table: str) -> None:
    archived(database)
    database.run(f"alter table {table} add column added int")
    with pytest.raises(psycopg.errors.RaiseException, match="has a column added that"):
        apply(database)
    assert count(database, "ledger_archive") == 0


def test_a_trigger_that_keeps_rows_out_of_the_archive_stops_it(database: Database) -> None:
    archived(database)
    database.run(
        "create function never() returns trigger language plpgsql as 'begin return null; end';"
        "create trigger t before insert on ledger_archive for each row execute function never()"
    )
    with pytest.raises(psycopg.errors.RaiseException):
        apply(database)
    assert errors(database) == ["public.ledger_archive has taken 0 of 50 rows: look at its triggers"]
    assert count(database, "ledger") == 1000


# -- exactly once --------------------------------------------------------------------------------------------------------

# a process of its own each, as there would be on several machines
AT_WORK = """
import sys
from sqlalchemy.engine import make_url
from pgopt import Settings
from pgopt.cli import retention
retention.apply(make_url(sys.argv[1]), clock=sys.argv[2], settings=Settings(batch_rows=7, batch_pause=0.002))
"""
CALLING = """
import sys, psycopg
from sqlalchemy.engine import make_url
url = make_url(sys.argv[1]).set(drivername="postgresql").render_as_string(hide_password=False)
with psycopg.connect(url, autocommit=True) as connection:
    connection.execute("call pgopt.apply_retention(null, '" + sys.argv[2] + "')")
"""


def worker(database: Database, number: int) -> subprocess.Popen[bytes]:
    url = database.engine().url.render_as_string(hide_password=False)
    return subprocess.Popen(
        [sys.executable, "-c", (AT_WORK, CALLING)[number % 2], url, NOW],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def workers(database: Database, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    found = [worker(database, each) for each in range(number)]
    try:
        yield found
    finally:
        for each in found:
            each.kill()
            each.wait()


def test_four_processes_that_are_killed_archive_each_row_once(database: Database) -> None:
    archived(database)
    database.run(
        f"insert into ledger (at, amount) select timestamptz '{NOW}' - interval '9 days', 1 + g % 9 from generate_series(1, 4000) g"
    )
    chance = random.Random(6)
    seen: list[int] = []
    written: dict[int, int] = {}

    def write(connection: Connection[Any], turn: int) -> None:
        # old rows that come, change and go while they are archived
        with connection.transaction():
            row = connection.execute(
                f"insert into ledger (at, amount) values (timestamptz '{NOW}' - interval '20 days', 1) returning id"
            ).fetchone()
            key = chance.randint(1, 900)
            changed = connection.execute(
                "update ledger set amount = amount + 1000000 where id = %s returning id, amount", [key]
            ).fetchone()
        assert row is not None
        seen.append(row[0])
        if changed is not None:
            written[changed[0]] = changed[1]

    database.run("update pgopt.retention_policy set batch = 10")
    first = database.value("select count(*) from ledger")
    with at_work([Writer(database, write)]), workers(database, 4) as found:
        kills = 0
        left = f"ledger where at < timestamptz '{NOW}' - interval '2 days' and id between 2001 and 5000"
        # where processes begin slowly, each kill costs more than is done between two of them
        while kills < 15 and count(database, left) > 1000:
            victim = chance.randrange(4)
            if chance.random() < 0.5:
                found[victim].send_signal(signal.SIGKILL)
                found[victim].wait()
            else:
                database.run(
                    "select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'retention' and pid <> pg_backend_pid()"
                    " and datname = current_database() order by random() limit 1"
                )
            kills += 1
            wait_until("that one is at work", lambda: at_it(database, found), seconds=240)
    assert kills > 3
    apply(database)
    assert count(database, f"ledger where at < timestamptz '{NOW}' - interval '1 day'") == 0
    assert database.rows(f"select count(*), count(distinct id) from {BOTH}") == [(first + len(seen),) * 2]
    assert database.rows(f"select id from {BOTH} where twice <> amount * 2") == []
    assert dict(database.rows(f"select id, amount from {BOTH} where amount > 1000000")) == written
    total = count(database, "ledger_archive")
    assert database.value("select sum(rows) from pgopt.retention_run") == total, (
        "what runs have written down is what they did"
    )


_last: list[int] = [0]


def at_it(database: Database, found: list[subprocess.Popen[bytes]]) -> bool:
    """Put new processes in the place of those that are gone, and tell whether rows have moved since it was asked."""
    for number, each in enumerate(found):
        if each.poll() is not None:
            found[number] = worker(database, number)
    now = database.value("select coalesce(sum(rows), 0) from pgopt.retention_run")
    moved = now != _last[0]
    _last[0] = now
    return bool(moved)


def test_a_connection_that_is_lost_before_a_batch_is_committed_has_done_nothing(database: Database) -> None:
    archived(database)
    before = database.rows(DIGEST)
    run = database.value(f"select pgopt.retention_begin('ledger', '{NOW}')")
    with database.connect() as lost:
        lost.execute("begin")
        assert lost.execute(f"select * from pgopt.retention_batch({run}, 5)").fetchall() == [(5, False)]
        database.run(f"select pg_terminate_backend({lost.info.backend_pid})")
        with pytest.raises(psycopg.errors.AdminShutdown):
            lost.execute("commit")
    assert database.rows(DIGEST) == before
    assert (count(database, "ledger"), count(database, "ledger_archive")) == (1000, 0)
    assert database.rows("select rows, batches, finished_at from pgopt.retention_run") == [(0, 0, None)]
    apply(database)
    assert database.rows("select rows, error from pgopt.retention_run order by id") == [(0, "interrupted"), (976, None)]


def test_killed_at_any_statement_each_row_is_archived_once(database: Database) -> None:
    archived(database)
    database.run("update pgopt.retention_policy set batch = 600")
    digest = database.rows(DIGEST)
    # the command makes an engine of its own
    fuse = Fuse(Engine)  # type: ignore[arg-type]

    def work() -> None:
        found = retention.apply(database.engine().url, ["ledger"], NOW, report=lambda _: None)
        if error := found[0].error:
            raise PgoptError(error)

    points = 0
    while fail(fuse, points + 1, MOST[points % len(MOST)], work):
        fuse.set()
        points += 1
        assert database.rows(DIGEST) == digest
        work()
        assert (count(database, "ledger"), count(database, "ledger_archive")) == (24, 976)
        database.run(
            "insert into ledger (id, at, amount, ref) overriding system value select id, at, amount, ref from ledger_archive;"
            " truncate ledger_archive"
        )
    fuse.remove()
    assert points > 15


# -- back again ----------------------------------------------------------------------------------------------------------


def bring_back(database: Database, where: str, **options: Any) -> tuple[int, str | None]:
    return restore.run(database.engine().url, "ledger", where, **options)


def test_rows_come_back_by_a_predicate(database: Database) -> None:
    archived(database)
    before = database.rows(DIGEST)
    apply(database)
    where = "ledger_archive.amount % 10 = 0 -- 100%"
    assert bring_back(database, where, dry_run=True)[0] == 98
    found, note = bring_back(database, where)
    assert found == 98
    assert note is not None
    assert "hold it with --hold" in note
    assert database.rows(DIGEST) == before
    assert count(database, "ledger") == 24 + 98
    assert bring_back(database, where, hold="asked for by the customer") == (0, None)
    apply(database)
    assert count(database, "ledger") == 24 + 98
    assert database.rows("select hold from pgopt.retention_policy") == [("asked for by the customer",)]


def test_a_row_that_is_there_already_stays_archived(database: Database) -> None:
    archived(database)
    apply(database)
    database.run("insert into ledger (id, at, amount) overriding system value values (500, now(), 1)")
    with pytest.raises(PgoptError, match="duplicate key value"):
        bring_back(database, "id = 500")
    assert count(database, "ledger_archive where id = 500") == 1


def test_rows_that_others_hold_are_told(database: Database) -> None:
    archived(database)
    apply(database)
    with database.connect() as other:
        other.execute("begin; select from ledger_archive where id = 500 for update")
        found, note = bring_back(database, "amount between 495 and 505")
    assert (found, note) == (10, "1 rows are still in public.ledger_archive, since others held them: run again")
    assert bring_back(database, "amount between 495 and 505")[0] == 1


def test_what_has_no_policy_cannot_be_held(database: Database) -> None:
    database.run(LEDGER)
    database.perform(InstallPgopt(1), ARCHIVE)
    with pytest.raises(
        PgoptError, match=r"public\.ledger has no retention policy that could be held: leave --hold out"
    ):
        bring_back(database, "true", archive="ledger_archive", hold="why")


def test_two_that_bring_the_same_rows_back_do_so_once(database: Database) -> None:
    archived(database)
    before = database.rows(DIGEST)
    apply(database)
    database.run("update pgopt.retention_policy set hold = 'test'")
    program = """
import sys
from sqlalchemy.engine import make_url
from pgopt.cli import restore, retention
restore.run(make_url(sys.argv[1]), "ledger", "true")
"""
    url = database.engine().url.render_as_string(hide_password=False)
    both = [subprocess.Popen([sys.executable, "-c", program, url]) for _ in range(2)]
    assert [each.wait() for each in both] == [0, 0]
    assert database.rows(DIGEST) == before
    assert count(database, "ledger_archive") == 0


def test_an_archive_in_partitions_gives_its_rows_back(database: Database) -> None:
    database.run(
        LEDGER
        + "create table cold (like ledger, primary key (id, at)) partition by range (at);"
        + "create table cold_1 partition of cold for values from (minvalue) to ('2024-05-20'); create table cold_2 partition of cold default"
    )
    cold = CreateRetentionPolicy("ledger", column="at", keep="1 day", action="archive", archive_to="cold")
    database.perform(InstallPgopt(1), cold)
    apply(database)
    assert errors(database) == []
    assert min(count(database, "cold_1"), count(database, "cold_2")) > 100
    assert bring_back(database, "true") == (976, bring_back(database, "false")[1])
    assert (count(database, "ledger"), count(database, "cold")) == (1000, 0)


def test_without_a_policy_the_archive_must_be_said(database: Database) -> None:
    archived(database)
    apply(database)
    database.perform(DropRetentionPolicy("ledger"))
    with pytest.raises(PgoptError, match=r"no policy of public.ledger archives its rows: say --archive"):
        bring_back(database, "true")
    assert bring_back(database, "true", archive="public.ledger_archive") == (976, None)


# -- dropping an archive -------------------------------------------------------------------------------------------------


def test_an_archive_is_not_dropped_with_rows_unless_it_is_said_what_becomes_of_them(database: Database) -> None:
    archived(database)
    before = database.rows(DIGEST)
    apply(database)
    with pytest.raises(InvalidOperation, match=r"the policy of public.ledger is about public.ledger_archive"):
        database.perform(DropArchiveTable("ledger", rows="restore"))
    database.perform(POLICY.reverse())
    with pytest.raises(InvalidOperation, match="ledger_archive has rows, which would be lost: say rows='restore'"):
        database.perform(ARCHIVE.reverse())
    database.perform(DropArchiveTable("ledger", rows="leave"))
    assert database.rows(DIGEST) == before
    database.perform(CreateArchiveTable("ledger", rows="restore"), POLICY, POLICY.reverse())
    database.perform(DropArchiveTable("ledger", rows="restore"))
    assert count(database, "ledger") == 1000
    assert database.value("select to_regclass('ledger_archive')") is None


def test_another_table_is_not_taken_for_the_archive(database: Database) -> None:
    database.run(LEDGER + "create table ledger_archive (id bigint)")
    database.perform(InstallPgopt(1))
    for operation in (ARCHIVE, ARCHIVE.reverse()):
        with pytest.raises(
            InvalidOperation, match=r"there is another public.ledger_archive: public.ledger has a column amount"
        ):
            database.perform(operation)


# -- the commands --------------------------------------------------------------------------------------------------------


def run(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    url = database.engine().url.render_as_string(hide_password=False)
    return subprocess.run(
        [sys.executable, "-m", "pgopt.cli.main", *arguments, f"--url={url}"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_say_what_they_do(database: Database) -> None:
    archived(database)
    clock = f"--clock={NOW}"
    shown = run(database, "retention", "ledger", "--dry-run", clock)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(
        "public.ledger: 976 rows to archive, older than 2024-06-14 12:00:00+00, from 2024-05-04 20:00:00+00"
    )
    done = run(database, "retention", clock)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "public.ledger: 976 rows archived, older than 2024-06-14 12:00:00+00, in 20 batches and "
    )
    back = run(database, "restore", "public.ledger", "--where=amount = 500")
    assert back.stdout.startswith("public.ledger: 1 rows brought back\n  note: ")
    database.run("insert into ledger_archive (id, at, amount) values (500, now(), 1)")
    failed = run(database, "retention", "ledger", clock, "--json")
    assert failed.returncode == 1
    assert "duplicate key" in json.loads(failed.stdout)[0]["error"]


def test_a_table_without_a_policy_is_an_error(database: Database) -> None:
    archived(database)
    with pytest.raises(PgoptError, match=r"public.referred has no retention policy: make one"):
        retention.apply(database.engine().url, ["referred"])
    with pytest.raises(psycopg.errors.RaiseException, match=r"referred has no retention policy"):
        database.run("call pgopt.apply_retention('referred')")
