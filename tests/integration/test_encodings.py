"""Databases of another encoding than UTF-8: nothing that pgopt sends is beyond ASCII by itself."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from pgopt import Monthly
from pgopt.operations import CreateIndexConcurrently, InstallPgopt, PartitionTable, UninstallPgopt, UnpartitionTable
from tests.databases import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.databases import Database

LOGS = """
create table logs (id int, at date not null, note text, primary key (id, at));
insert into logs select g, date '2026-06-01' + g % 150, 'note ' || g from generate_series(1, 300) g;
"""


@contextmanager
def encoded(database: Database, encoding: str) -> Iterator[Database]:
    """Make a database of another encoding beside the test's."""
    name = f"{database.name}_{encoding.lower()}"
    database.run(f"create database {name} encoding '{encoding}' template template0 lc_collate 'C' lc_ctype 'C'")
    try:
        yield replace(database, name=name)
    finally:
        database.run(f"drop database {name}")


def engine(database: Database, driver: str, query: dict[str, str]) -> Engine:
    url = make_url(database.server.url(database.name, driver)).update_query_dict(query)
    return create_engine(url, poolclass=NullPool)


@pytest.mark.parametrize(
    ("encoding", "driver", "query"),
    [
        ("LATIN1", "psycopg", {}),
        ("LATIN1", "psycopg2", {}),
        ("SQL_ASCII", "psycopg2", {}),
        # or SQLAlchemy itself does not understand what the driver gives it
        ("SQL_ASCII", "psycopg", {"client_encoding": "utf8"}),
    ],
)
def test_a_table_is_partitioned(database: Database, encoding: str, driver: str, query: dict[str, str]) -> None:
    with encoded(database, encoding) as other:
        other.run(LOGS)
        before, through = other.dump(), engine(other, driver, query)
        install, index = InstallPgopt(1), CreateIndexConcurrently("on_note", "logs", ["note"])
        by_month = PartitionTable("logs", Monthly("at"))
        other.perform(install, index, by_month, engine=through)
        made = names(other.rows("select relid::regclass::text from pg_partition_tree('logs') where isleaf"))
        # psycopg gives bytes where the database does not say what they mean
        assert {"logs_p202606", b"logs_p202606"} & set(made)
        assert other.value("select count(*) from logs") == 300
        assert other.value("select count(*) from pgopt.maintain_partitions()") == 0
        other.perform(UnpartitionTable("logs", Monthly("at")), index.reverse(), UninstallPgopt(1), engine=through)
        assert other.dump() == before
