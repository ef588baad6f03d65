"""Tables as the command line names them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from pgopt import InvalidOperation, PgoptError
from pgopt.cli import partitions, restore, retention, verify
from pgopt.cli.options import table_of
from pgopt.operations import InstallPgopt
from pgopt.server.catalog import Catalog
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.databases import Database

TABLES = """
create schema "My.Schema";
create table "My.Schema"."a.table" (); create table "My.Schema".plain (); create table "say ""hi"" now" ();
create table "auditLogs" (); create table auditlogs (); create table "a table" (); create table "lo.gs" (); create table "%s :x" ()
"""


@pytest.fixture
def tables(database: Database) -> Database:
    database.run(TABLES)
    return database


@pytest.fixture
def db(tables: Database) -> Iterator[Catalog]:
    with tables.engine().connect() as connection:
        yield Catalog(Session(connection))


@pytest.mark.parametrize(
    ("said", "schema", "name"),
    [
        ("auditLogs", "public", "auditLogs"),
        ("auditlogs", "public", "auditlogs"),
        ('public."auditLogs"', "public", "auditLogs"),
        ("a table", "public", "a table"),
        ("public.a table", "public", "a table"),
        ("%s :x", "public", "%s :x"),
        ('"lo.gs"', "public", "lo.gs"),
        ('say "hi" now', "public", 'say "hi" now'),
        ('"say ""hi"" now"', "public", 'say "hi" now'),
        ("My.Schema.plain", "My.Schema", "plain"),
        ('"My.Schema".plain', "My.Schema", "plain"),
        ('"My.Schema"."a.table"', "My.Schema", "a.table"),
    ],
)
def test_a_table_is_found_by_its_name_as_it_stands_and_as_sql_writes_it(
    db: Catalog, said: str, schema: str, name: str
) -> None:
    found = table_of(db, said)
    assert (found.schema, found.name) == (schema, name)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("AuditLogs", "there is no table 'AuditLogs' on the search path"),
        ('"My.Schema"."none"', "there is no table 'none' in schema 'My.Schema'"),
        ('here."My.Schema".plain', r'here."My\.Schema"\.plain is neither a table nor schema\.table'),
        ('"My.Schema".a b', "string is not a valid identifier"),
    ],
)
def test_a_name_that_no_table_has_is_one_sentence(db: Catalog, said: str, sentence: str) -> None:
    with pytest.raises((InvalidOperation, DBAPIError), match=sentence):
        table_of(db, said)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (partitions.look, "knows no partitions of"),
        (verify.run, "keeps no columns of"),
        (lambda url, table: retention.preview(url, [table]), "has no retention policy"),
        (lambda url, table: retention.apply(url, [table]), "has no retention policy"),
        (partial(restore.run, where="true"), "no policy of .* archives its rows: say --archive"),
    ],
    ids=["partitions", "verify", "retention --dry-run", "retention", "restore"],
)
def test_each_command_takes_a_quoted_name(tables: Database, command: Callable[..., object], sentence: str) -> None:
    tables.perform(InstallPgopt(1))
    with pytest.raises(PgoptError, match=sentence):
        command(make_url(tables.server.url(tables.name)), '"My.Schema"."a.table"')
