"""Archives in partitions: each row finds one, however old it is, and old ones go whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgopt import InvalidOperation, Quarterly, Yearly
from pgopt.operations import (
    CreateArchiveTable,
    CreateRetentionPolicy,
    DropArchiveTable,
    InstallPgopt,
    ManagePartitions,
)
from tests.integration.test_retention_archives import DIGEST, LEDGER, NOW, POLICY, apply, count

if TYPE_CHECKING:
    from tests.databases import Database

ARCHIVE = CreateArchiveTable("ledger", by=Quarterly("at"), premake=1, storage={"fillfactor": 70}, widen_keys=True)
OLDEST = "insert into ledger (id, at, amount) overriding system value values (5000, '1999-01-01', 1)"
PLACES = "select tableoid::regclass::text, count(*)::int from ledger_archive group by 1 order by 1"
PARTITIONS = "select inhrelid::regclass::text from pg_inherits where inhparent = 'ledger_archive'::regclass order by 1"


@pytest.fixture
def archived(database: Database) -> Database:
    """A database with an archive in partitions, and a row that came after it was made and is older than all of them."""
    database.run(LEDGER)
    database.perform(InstallPgopt(1), ARCHIVE, POLICY)
    database.run(OLDEST)
    return database


def test_each_row_finds_its_partition(archived: Database) -> None:
    before = archived.rows(DIGEST)
    apply(archived)
    assert archived.rows(DIGEST) == before
    assert archived.rows(PLACES) == [("ledger_archive_p2024q2", 976), ("ledger_archive_pdefault", 1)]
    assert archived.perform(ARCHIVE), "it is there"
    assert archived.rows("select action, partition from pgopt.maintain_partitions('ledger_archive')") == [
        ("default", "public.ledger_archive_pdefault")
    ]


def test_more_are_made_ahead_like_the_others(archived: Database) -> None:
    there = archived.rows(PARTITIONS)
    archived.perform(ManagePartitions("ledger_archive", premake=3))
    made = archived.rows("select action from pgopt.maintain_partitions('ledger_archive')")
    assert made == [("created",), ("created",)]
    assert len(archived.rows(PARTITIONS)) == len(there) + 2
    assert archived.value("select count(*) from pg_class where reloptions = '{fillfactor=70}'") == len(there) + 2


def test_its_own_policy_drops_its_partitions(archived: Database) -> None:
    apply(archived)
    archived.perform(
        CreateRetentionPolicy(
            "ledger_archive", column="at", keep="1 year", action="drop_partition", partly="delete", schema="public"
        )
    )
    archived.run("call pgopt.apply_retention('ledger_archive', '2025-08-01')")
    assert archived.rows(PLACES) == []
    assert "ledger_archive_p2024q2" not in [name for (name,) in archived.rows(PARTITIONS)]
    assert ("ledger_archive_p2024q3",) in archived.rows(PARTITIONS)
    assert count(archived, "ledger") == 24


@pytest.mark.parametrize("rows", ["restore", "leave"])
def test_what_becomes_of_its_rows_is_said(archived: Database, rows: str) -> None:
    apply(archived)
    archived.run("delete from pgopt.retention_policy")
    drop = {"by": Quarterly("at"), "premake": 1, "storage": {"fillfactor": 70}, "widen_keys": True}
    with pytest.raises(InvalidOperation, match="has rows, which would be lost"):
        archived.perform(DropArchiveTable("ledger", **drop))  # type: ignore[arg-type]
    archived.perform(DropArchiveTable("ledger", rows=rows, **drop))  # type: ignore[arg-type]
    if rows == "leave":
        assert count(archived, "ledger_archive") == 977
        return
    assert count(archived, "ledger") == 1001
    assert archived.value("select to_regclass('ledger_archive')") is None
    assert archived.rows("select * from pgopt.partitioned") == []


def test_what_cannot_be_is_refused_before_anything_is_made(database: Database) -> None:
    database.run(LEDGER + "; alter table ledger add day date")
    database.perform(InstallPgopt(1))
    refused = {
        r"the key of public.ledger \(id\) does not contain at, .*: widen_keys=True": {"by": Yearly("at")},
        r"column 'day' of public.ledger may be NULL.*: op.set_not_null_online": {
            "by": Yearly("day"),
            "widen_keys": True,
        },
        "column 'amount' is integer: Yearly wants": {"by": Yearly("amount")},
        "has no column 'nothing'": {"by": Yearly("nothing")},
    }
    for sentence, said in refused.items():
        with pytest.raises(InvalidOperation, match=sentence):
            database.perform(CreateArchiveTable("ledger", **said))  # type: ignore[arg-type]
    with pytest.raises(InvalidOperation, match="by='at' of the archive of ledger"):
        CreateArchiveTable("ledger", by="at")  # type: ignore[arg-type]
    database.perform(CreateArchiveTable("ledger"))
    with pytest.raises(InvalidOperation, match=r"public\.ledger_archive is there already, and is no partitioned table"):
        database.perform(ARCHIVE)
    database.perform(DropArchiveTable("ledger"), ARCHIVE)
    with pytest.raises(InvalidOperation, match=r"public\.ledger_archive is there already, with other partitions"):
        database.perform(CreateArchiveTable("ledger", by=Yearly("at"), widen_keys=True))


def test_rows_before_a_start_share_one_partition(database: Database) -> None:
    database.run(LEDGER + ";" + OLDEST)
    with_start = CreateArchiveTable("ledger", by=Yearly("at"), start="2020-01-01", widen_keys=True)
    database.perform(InstallPgopt(1), with_start, POLICY)
    apply(database)
    assert database.rows(PLACES) == [("ledger_archive_p2024", 976), ("ledger_archive_pbefore", 1)]


def test_an_owner_who_is_no_superuser_may(database: Database) -> None:
    owner = "pgopt_owner"
    database.run(f"drop role if exists {owner}; create role {owner} login")
    try:
        database.run(f"alter database {database.name} owner to {owner}; alter schema public owner to {owner}; {LEDGER}")
        database.run(f"alter table ledger owner to {owner}; alter table referred owner to {owner}")
        engine = database.engine(connect_args={"user": owner})
        database.perform(InstallPgopt(1), ARCHIVE, POLICY, engine=engine)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"call pgopt.apply_retention('ledger', '{NOW}')")
            connection.exec_driver_sql("select pgopt.maintain_partitions('ledger_archive')")
        assert count(database, "ledger_archive") == 976
    finally:
        database.run(f"reassign owned by {owner} to current_user; drop owned by {owner}; drop role {owner}")
