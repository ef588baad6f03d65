"""Columns whose changes a job folds in: what is noted, who folds it in, and what is there meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgopt import InvalidOperation
from pgopt.errors import StatementFailed
from pgopt.operations import InstallPgopt, VerifyDenormalized
from tests.databases import wait_until
from tests.integration.test_denormalized import (
    ADDED,
    COPIED,
    EVIL,
    PATHS,
    READ,
    REFERENCE,
    TABLES,
    drift,
    verify,
    views,
)
from tests.integration.test_denormalized_beside_others import transaction, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Database

DEFERRED = tuple(replace(each, deferred="every 20 seconds") for each in (ADDED, READ, COPIED))
FOLD = "call pgopt.fold()"
QUEUED = "select coalesce(sum(changes), 0) from pgopt.deferred_columns"
SOME = (
    "insert into tickets select g, 'c' || g, g % 3 from generate_series(1, 5) g; insert into people values (1, 'p1');"
)
COMMENTS = "insert into comments select g, g % 4 + 1, 'OPEN', g, g from generate_series(1, 20) g"


@pytest.fixture(params=[REFERENCE, ""], ids=["with a foreign key", "without one"])
def deferred(database: Database, request: pytest.FixtureRequest) -> Database:
    """Tickets with comments and authors, whose changes wait."""
    database.run(TABLES.replace("{reference}", request.param))
    database.perform(InstallPgopt(1), *DEFERRED)
    return database


@pytest.fixture
def tickets(database: Database) -> Database:
    """The same with some rows, and nothing that waits."""
    database.run(TABLES.replace("{reference}", REFERENCE))
    database.perform(InstallPgopt(1), *DEFERRED)
    database.run(SOME + COMMENTS)
    database.run(FOLD)
    return database


def right(database: Database) -> bool:
    """Whether nothing waits, and nothing has drifted."""
    with database.connect() as connection:
        return database.value(QUEUED) == 0 and drift(connection, views(database)) == []


def test_changes_wait_until_they_are_folded_in(deferred: Database) -> None:
    deferred.run("insert into tickets values (1, 'c1', 1)")
    deferred.run("insert into comments values (1, 1, 'OPEN', 2, 3), (2, 1, 'x', 1, 1)")
    assert deferred.rows("select n, author_name from tickets") == [(0, "nobody")]
    with deferred.connect() as connection:
        assert drift(connection, views(deferred)) == []
    # of the ticket in each, and of its two comments one a statement
    assert deferred.value(QUEUED) == 5
    assert deferred.value("select bool_and(age >= '0' and oldest_at <= now()) from pgopt.deferred_columns")
    deferred.run(FOLD)
    assert deferred.rows("select n, all_at, author_name from tickets") == [(2, [3, 1], "nobody")]
    assert right(deferred)


CHANGES = (
    "update comments set ticket_id = ticket_id % 4 + 1 where id % 3 = 0",
    "update tickets set id = id + 100 where id = 2",
    "update tickets set author = 1",
    "delete from tickets where id = 3",
    "delete from comments where value > 17",
    "update people set id = 2",
    "update comments set at = 99 where id = 7",
    "truncate people",
    "truncate comments",
    "insert into comments values (7, 1, 'x', 1, 1)",
    "truncate tickets cascade",
)


def test_each_kind_of_change_is_folded_in(tickets: Database) -> None:
    for statement in CHANGES:
        tickets.run(statement)
        assert tickets.value(QUEUED) > 0
        tickets.run("call pgopt.fold('tickets', most => 1)")
        assert right(tickets), statement


def test_what_changes_nothing_is_not_noted(tickets: Database) -> None:
    tickets.run(
        "update comments set next = null, id = id; update tickets set code = code; update people set name = name"
    )
    assert tickets.value(QUEUED) == 0


def test_rows_of_the_target_that_come_later_are_filled(deferred: Database) -> None:
    deferred.run("alter table comments drop constraint if exists comments_ticket_id_fkey")
    deferred.run("insert into people values (1, 'p1'); insert into comments values (1, 9, 'OPEN', 2, 3)")
    deferred.run(FOLD)
    deferred.run("insert into tickets values (9, 'late', 1)")
    deferred.run(FOLD)
    assert deferred.rows("select n, author_name from tickets") == [(1, "p1")]


def test_a_row_that_gets_no_key_has_nothing_of_its_old_one(tickets: Database) -> None:
    tickets.run("insert into tickets (id, code, author, author_name) values (9, 'c9', null, 'said')")
    tickets.run("update tickets set author = null where id = 1")
    assert tickets.rows("select author_name from tickets where id in (1, 9)") == [("nobody",)] * 2
    tickets.run(FOLD)
    assert right(tickets)


def test_writers_of_one_row_do_not_wait_for_each_other(tickets: Database) -> None:
    with transaction(tickets) as one, tickets.connect(options="-c lock_timeout=5s") as other:
        one.execute("update comments set value = 3 where id = 4")
        other.execute("update comments set value = 4 where id = 8")
        other.execute(FOLD)
        assert other.execute("select 1").fetchall()
        one.execute("commit")
    tickets.run(FOLD)
    assert right(tickets)


def test_a_row_that_somebody_holds_is_for_the_next_time(tickets: Database) -> None:
    tickets.run("update comments set value = 100 where ticket_id in (1, 2)")
    with transaction(tickets) as holder, tickets.connect(options="-c lock_timeout=5s") as runner:
        holder.execute("update tickets set code = 'held' where id = 1")
        runner.execute(FOLD)
        assert tickets.value(QUEUED) == 2
        assert tickets.value("select total from tickets where id = 2") > tickets.value(
            "select total from tickets where id = 1"
        )
        holder.execute("commit")
    tickets.run(FOLD)
    assert right(tickets)


def test_what_is_committed_while_it_is_folded_in_is_for_the_next_time(tickets: Database) -> None:
    tickets.run("update comments set value = 100 where id = 4")
    with transaction(tickets) as late:
        # a note with a lower number than those that are folded in meanwhile
        late.execute("delete from comments where id = 8")
        tickets.run("delete from comments where id = 12")
        tickets.run(FOLD)
        assert tickets.value(QUEUED) == 0
        late.execute("commit")
    assert tickets.value(QUEUED) == 2
    with tickets.connect() as connection:
        assert drift(connection, views(tickets)) == []
    tickets.run(FOLD)
    assert right(tickets)


def test_the_second_who_folds_a_key_reads_what_the_first_has(tickets: Database) -> None:
    tag = tickets.value("select tag from pgopt.denormalized order by id limit 1")
    fold = f"select pgopt.denormal_{tag}_fold(0, 1000000, 1000)"
    tickets.run("delete from comments where id = 4")
    with transaction(tickets) as one, transaction(tickets) as other:
        one.execute(fold)
        tickets.run("delete from comments where id = 8")
        # it leaves the row to the first, and the note to whoever comes then
        other.execute(fold)
        other.execute("commit")
        one.execute("commit")
    assert tickets.value("select n from tickets where id = 1") in (3, 4)
    tickets.run(FOLD)
    assert right(tickets)


def test_a_killed_runner_has_taken_nothing(tickets: Database) -> None:
    tag = tickets.value("select tag from pgopt.denormalized order by id limit 1")
    tickets.run("delete from comments where id = 4")
    queued = tickets.value(QUEUED)
    with transaction(tickets) as runner:
        assert runner.execute(f"select pgopt.denormal_{tag}_fold(0, 1000000, 1000)").fetchone() != (None,)
        tickets.run(f"select pg_terminate_backend({runner.info.backend_pid})")
        with pytest.raises(psycopg.OperationalError):
            runner.execute("commit")
    assert tickets.value(QUEUED) == queued
    tickets.run(FOLD)
    assert right(tickets)


def test_a_truncate_waits_for_who_reads_and_nothing_old_is_left(tickets: Database) -> None:
    tag = tickets.value("select tag from pgopt.denormalized order by id limit 1")
    tickets.run("delete from comments where id = 4")
    with transaction(tickets) as runner, transaction(tickets) as writer:
        runner.execute(f"select pgopt.denormal_{tag}_fold(0, 1000000, 1000)")
        with waiting(tickets, writer, "truncate comments") as running:
            runner.execute("commit")
            running.result(20)
        writer.execute("commit")
    tickets.run(FOLD)
    assert tickets.rows("select distinct n, last from tickets") == [(0, None)]
    assert right(tickets)


def test_several_runners_fold_each_change_once(tickets: Database) -> None:
    tickets.run(
        "insert into tickets select g, 'c' || g, 1 from generate_series(6, 300) g;"
        " insert into comments select g, g % 300 + 1, 'x', 1, g from generate_series(21, 900) g"
    )
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(tickets.run, ["call pgopt.fold(most => 7)"] * 4))
    tickets.run(FOLD)
    assert right(tickets)


def test_the_job_folds_them_in(tickets: Database) -> None:
    jobs = dict(tickets.rows("select name, command from pgopt.job"))
    assert "fold author_name, about of public.tickets" in jobs
    tickets.run("delete from comments where id = 4")
    for command in jobs.values():
        tickets.run(command)
    assert right(tickets)


def test_verify_tells_what_waits_and_what_has_drifted(tickets: Database, tmp_path: Path) -> None:
    tickets.run("delete from comments where id = 4")
    verify(
        tickets,
        tmp_path,
        0,
        "of public.tickets are what public.comments says, but for 1 change that waits to be folded in",
    )
    tickets.perform(VerifyDenormalized("tickets"))
    tickets.run("set session_replication_role = replica; delete from comments where id in (5, 8)")
    with pytest.raises(StatementFailed, match=r"1 row of public.tickets differ in n, .*: id 2 has n"):
        tickets.perform(VerifyDenormalized("tickets"))
    tickets.perform(VerifyDenormalized("tickets", repair=True))
    tickets.run(FOLD)
    assert right(tickets)


def test_down_takes_queue_job_and_triggers(deferred: Database) -> None:
    deferred.run(SOME + COMMENTS)
    deferred.perform(*(each.reverse() for each in DEFERRED))
    assert deferred.rows("select name from pgopt.job") == []
    assert deferred.rows("select relname from pg_class where relname like 'denormal\\_%'") == []
    assert deferred.rows("select proname from pg_proc where proname like 'denormal\\_%'") == []
    assert deferred.value("select count(*) from comments") == 20
    deferred.run(FOLD)


def test_what_is_no_time_and_other_times_are_refused(tickets: Database) -> None:
    with pytest.raises(InvalidOperation, match=r"are kept already, with another definition"):
        tickets.perform(replace(ADDED, deferred="every 30 seconds"))
    with pytest.raises(InvalidOperation, match=r"cron '20 seconds': five fields"):
        tickets.perform(replace(ADDED, columns={"more": "count(*)"}, deferred="20 seconds"))
    assert tickets.value("select count(*) from pg_attribute where attname = 'more'") == 0


def test_an_owner_who_is_no_superuser_folds_and_writers_need_no_rights(database: Database) -> None:
    database.run("create role owner_of_all; create role writer")
    try:
        database.run(
            f"grant create on database {database.name} to owner_of_all; grant all on schema public to owner_of_all;"
            " grant usage on schema public to writer"
        )
        database.run("set role owner_of_all; " + TABLES.replace("{reference}", REFERENCE))
        database.run("grant insert, update, delete, truncate, select on tickets, comments, people to writer")
        engine = database.engine(connect_args={"options": "-c role=owner_of_all"})
        before = database.dump()
        database.perform(InstallPgopt(1), *DEFERRED, engine=engine)
        database.run("set role writer; " + SOME + COMMENTS + "; update tickets set author = 1; truncate people")
        owner = database.connect(options="-c role=owner_of_all")
        owner.execute(FOLD)
        owner.close()
        assert right(database)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.run("set role writer; call pgopt.fold()")
        database.perform(*(each.reverse() for each in reversed(DEFERRED)), engine=engine)
        assert database.dump() == before
    finally:
        database.run("drop owned by owner_of_all; drop owned by writer; drop role owner_of_all; drop role writer")


def test_no_search_path_deceives_them(tickets: Database) -> None:
    tickets.run(PATHS + EVIL)
    with tickets.connect() as connection:
        for path in ("app, public", "evil, pg_catalog, app, public"):
            connection.execute(f"set search_path = {path}")
            for statement in (
                "insert into comments values (100, 1, 'OPEN', 2, 3) on conflict do nothing",
                "update comments set value = value operator(pg_catalog.*) 2",
                "delete from comments where id operator(pg_catalog.=) 100",
                "update tickets set author = null; update tickets set author = 1",
                "update people set name = null",
                "truncate comments",
            ):
                connection.execute(statement)
            connection.execute("call pgopt.fold(most => 2)")
    assert right(tickets)


def test_changes_while_the_rows_are_filled_wait(database: Database) -> None:
    database.run(TABLES.replace("{reference}", "") + SOME + COMMENTS)
    database.perform(InstallPgopt(1))
    with transaction(database) as late, ThreadPoolExecutor() as threads:
        late.execute("delete from tickets where id = 5")
        running = threads.submit(
            database.perform, DEFERRED[0], settings={"lock_attempts": 30, "lock_timeout": 0.2, "lock_wait": 0.05}
        )
        wait_until("that it tries", lambda: database.value("select count(*) > 0 from pg_locks where not granted"))
        late.execute("insert into comments values (99, 1, 'OPEN', 2, 3); commit")
        running.result(30)
    database.run(FOLD)
    assert right(database)
