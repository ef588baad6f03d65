"""Single partitions that come and go: what is refused, and what an interrupted DETACH CONCURRENTLY leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgopt import InvalidOperation, NotReversible, PgoptError, StatementFailed
from pgopt.operations import AttachPartition, DenormalizeAggregate, DetachPartition, InstallPgopt
from tests.contract.examples.single_partitions import ATTACHED, LISTED, LOGS, OF_2025, OLD

if TYPE_CHECKING:
    from pgopt.operations import Operation
    from tests.databases import Database

ATTACH = AttachPartition("logs", "logs_old", **OF_2025)  # type: ignore[arg-type]
DETACH = DetachPartition("logs", "logs_old", **OF_2025)  # type: ignore[arg-type]


def refused(database: Database, operation: Operation, kind: type[PgoptError] = InvalidOperation) -> str:
    """The error with which an operation is refused, before anything is changed."""
    schema = database.dump()
    with pytest.raises(kind) as error:
        database.perform(operation)
    assert database.dump() == schema
    return str(error.value)


def test_all_that_does_not_fit_is_told_at_once_with_its_way_out(database: Database) -> None:
    database.run(
        LOGS
        + """
        create table logs_old (id int, at timestamptz not null, author int not null, extra int);
        create function f() returns trigger language plpgsql as 'begin return null; end';
        create trigger t after insert on logs_old referencing new table as n for each row execute function f();
        create trigger same after insert on logs for each row execute function f();
        create trigger same after insert on logs_old for each row execute function f();
        """
    )
    told = refused(database, ATTACH)
    for line in (
        "it has no column note of type text: add it",
        "its column extra is not in the partitioned table, or is of another type or collation: drop it",
        "its column id may be NULL: op.set_not_null_online('logs_old', 'id') first",
        "it has not the constraint small CHECK ((id < 1000000)): op.create_check_constraint_online first",
        "it has no foreign key FOREIGN KEY (author) REFERENCES public.people(id) that is valid: op.create_foreign_key_online first",
        "it has no primary key like logs_pkey (USING btree (id, at)): op.create_primary_key_online first",
        "it has no index like logs_at (USING btree (at DESC) WHERE (note IS NOT NULL)): op.create_index_concurrently first",
        "its trigger t is for each row and has transition tables: make it FOR EACH STATEMENT",
        "it has a trigger same, as public.logs has: drop it",
    ):
        assert line in told, told


@pytest.mark.parametrize(
    ("setup", "operation", "told"),
    [
        (LOGS + OLD, AttachPartition("people", "logs_old", lower=1), "public.people is not partitioned"),
        (LOGS + OLD, AttachPartition("logs", "logs_old", values=["x"]), "by ranges: say lower= and upper="),
        (
            LOGS + OLD,
            AttachPartition("logs", "logs_old", lower="2025-01-01", upper="2026-01-01 00:00+00"),
            r"'2025-01-01' of logs_old depends on the time zone: say its offset, as in '2025-01-01+00'",
        ),
        (
            LOGS + OLD,
            AttachPartition("logs", "logs_old", lower="2025-01-01 00:00+00"),
            "logs_new of public.logs already holds part of these bounds: FOR VALUES FROM",
        ),
        (ATTACHED, AttachPartition("logs", "logs_old", upper="2026-01-01 00:00+00"), "is a partition of public.logs already"),
        (ATTACHED, DetachPartition("logs", "logs_old", upper="2026-01-01 00:00+00"), "public.logs_old has other bounds"),
        (
            f"{ATTACHED} create table r (id int, at timestamptz, foreign key (id, at) references logs)",
            DETACH,
            "foreign key r_id_at_fkey of public.r refers to public.logs",
        ),
        (LISTED, AttachPartition("Lo'gs %s", "US", values=["US", "DE"], schema="S x", partition_schema="Old"), "already holds part of these bounds"),
        (
            f"""{LISTED} insert into "S x"."Lo'gs %s" values ('US', 1)""",
            AttachPartition("Lo'gs %s", "US", values=["US"], schema="S x", partition_schema="Old"),
            "the default partition S x.Others has rows of these bounds",
        ),
        (
            "create table h (id int) partition by hash (id); create table h0 (id int)",
            AttachPartition("h", "h0", lower=1),
            "not partitioned by ranges or lists of one column",
        ),
    ],
)  # fmt: skip
def test_refusal_is_one_clear_error(database: Database, setup: str, operation: Operation, told: str) -> None:
    database.run(setup)
    assert told in refused(database, operation)


def test_rows_outside_of_the_bounds_are_counted_and_nothing_is_left(database: Database) -> None:
    database.run(LOGS + OLD + "insert into logs_old values ('n', 1, 77, '2024-12-31 23:59+00')")
    assert "1 rows of public.logs_old violate it (id, at: (77, " in refused(database, ATTACH, StatementFailed)


def test_a_table_with_kept_columns_is_no_partition(database: Database) -> None:
    database.run(LOGS + OLD + "create index on logs_old (author)")
    database.perform(
        InstallPgopt(1),
        DenormalizeAggregate("people", source="logs_old", on={"id": "author"}, columns={"entries": "count(*)"}),
    )
    assert "triggers keep columns from it, which see nothing of what is written through public.logs" in refused(
        database, ATTACH
    )


def test_a_bound_must_be_said() -> None:
    with pytest.raises(InvalidOperation, match="say lower= and upper= of a range, or values= of a list"):
        AttachPartition("logs", "logs_old")
    with pytest.raises(NotReversible, match="say its bounds"):
        DetachPartition("logs", "logs_old").reverse()


def test_an_interrupted_detachment_is_finished_or_taken_back(database: Database) -> None:
    database.run(ATTACHED)
    attached = database.dump()

    def interrupt() -> None:
        with database.connect() as reader, database.connect() as other:
            reader.execute("begin isolation level repeatable read")
            reader.execute("select count(*) from logs")
            other.execute("set statement_timeout = '300ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                other.execute("alter table logs detach partition logs_old concurrently")
        assert database.value("select inhdetachpending from pg_inherits where inhrelid = 'logs_old'::regclass")

    interrupt()
    database.perform(DetachPartition("logs", "logs_old"))
    assert database.value("select count(*) from logs") == 50
    database.run("alter table logs_old drop constraint if exists logs_old_at_check")
    database.perform(ATTACH)
    assert database.dump() == attached
    interrupt()
    database.perform(ATTACH)
    assert database.value("select count(*) from logs") == 100
