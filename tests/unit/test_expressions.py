"""SQLAlchemy expressions become the text that PostgreSQL reads, whichever SQLAlchemy it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, Integer, MetaData, Table, Text, column, func, select

from pgopt.operations import Backfill, CreateIndexConcurrently, CreateMaterializedView, InstallPgopt
from pgopt.operations.expressions import text_of

if TYPE_CHECKING:
    from tests.databases import Database

FILES = Table("files", MetaData(), Column("id", Integer), Column("path", Text))
DIGITS = r"^\d+$"
HOME = r"C:\a 100%\:b"


def test_a_backslash_stays_one() -> None:
    path = column("path", Text)
    assert text_of(path.op("~")(DIGITS)) == r"(path ~ '^\d+$')"
    assert text_of(path == HOME) == rf"(path = '{HOME}')"
    assert text_of(select(FILES.c.id).where(FILES.c.path == HOME)).endswith(rf"WHERE files.path = '{HOME}'")


def test_the_server_reads_a_backslash_as_it_was_said(database: Database) -> None:
    database.run(rf"create table files (id int primary key, path text, n int); insert into files values (1, '{HOME}')")
    path = FILES.c.path
    counted = select(path, func.count().label("n")).where(path == HOME).group_by(path)
    operations = [
        InstallPgopt(1),
        CreateIndexConcurrently("ix_home", "files", ["id"], where=path == HOME),
        Backfill("files", {"n": "1"}, where=path.op("~")(r"\\a \d+%\\:b$")),
        CreateMaterializedView("at_home", counted, unique=["path"], depends_on=["files"]),
    ]
    # the second time it must find what it has made itself
    for operation in (*operations, *operations):
        database.perform(operation)
    predicate = database.value(
        "select pg_get_expr(indpred, indrelid) from pg_index where indexrelid = 'ix_home'::regclass"
    )
    assert database.value(f"select {predicate} and n = 1 from files")
    database.run(rf"insert into files values (2, '{HOME}')")
    database.run("call pgopt.refresh_all(array['at_home']::regclass[])")
    assert database.rows("table at_home") == [(HOME, 2)]
