"""SQLAlchemy expressions become the text that PostgreSQL reads, whichever SQLAlchemy it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    case,
    column,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from pgopt import InvalidOperation
from pgopt.operations import Backfill, CreateIndexConcurrently, CreateMaterializedView, InstallPgopt
from pgopt.operations.expressions import text_of

if TYPE_CHECKING:
    from tests.databases import Database

FILES = Table("files", MetaData(), Column("id", Integer), Column("path", Text))
DIGITS = r"^\d+$"
HOME = r"C:\a 100%\:b"


@pytest.mark.parametrize("value", [text("'see :ref'"), text(":ref + 1"), FILES.c.path == bindparam("ref")])
def test_what_has_no_value_is_not_written_as_null(value: Any) -> None:
    with pytest.raises(
        InvalidOperation, match=r":ref in .* has no value: say .bindparams\(ref=…\), or \\:ref where it"
    ):
        Backfill("t", {"b": value})
    assert text_of(text("a + :ref").bindparams(ref=5)) == "a + 5"
    assert text_of(text(r"'see \:ref'")) == "'see :ref'"


def test_what_cannot_be_written_is_one_sentence() -> None:
    with pytest.raises(InvalidOperation, match=r"an expression cannot be written as SQL: .*: say it as text"):
        text_of(column("a", JSONB) == {"x": 1})


def test_an_expression_may_be_a_column_of_an_index(database: Database) -> None:
    database.run("create table files (id int, path text)")
    number = FILES.c.id
    made = CreateIndexConcurrently(
        "ix",
        "files",
        [
            (number + 1).desc().nulls_last(),
            -number,
            case((number > 1, 1), else_=2),
            FILES.c.path.desc(),
            func.lower("a"),
        ],
    )
    for _ in range(2):
        database.perform(made)
    assert "((id + 1)) DESC NULLS LAST" in database.value("select pg_get_indexdef('ix'::regclass)")


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
