"""Definitions that the server reads for us: made on something temporary, in a transaction that is rolled back."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation
from pgopt.server.quoting import ident, literal, render, sql
from pgopt.server.session import (
    CANNOT_COERCE,
    DATATYPE_MISMATCH,
    INSUFFICIENT_PRIVILEGE,
    UNDEFINED_FUNCTION,
    server_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.sql import Composable

    from pgopt.server.objects import Relation
    from pgopt.server.session import Session

# a table is a type of its name, too, and those that are temporary are found first
_TEMP_LAST = (
    "select set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true)"
)
_WITHOUT_TEMP = (
    "select format('grant temporary on database %I to %I', current_database(), current_user)"
    " where not has_database_privilege(current_database(), 'TEMPORARY')"
)
_UNREADABLE = "select format('grant select on %s to %I', {table}::oid::regclass, current_user) where not has_table_privilege({table}::oid, 'SELECT')"


# f(t), t::t and coalesce(t, null::t) of a row of the copy
_OF_ANOTHER_TYPE = (UNDEFINED_FUNCTION, CANNOT_COERCE, DATATYPE_MISMATCH)


@contextmanager
def probe(session: Session) -> Iterator[None]:
    """Open a transaction that is rolled back, for something temporary; say so where that is not allowed to us."""
    try:
        with session.rolled_back():
            yield
    except DBAPIError as error:
        if server_error(error).code == INSUFFICIENT_PRIVILEGE and (grant := session.value(_WITHOUT_TEMP)):
            raise InvalidOperation(
                f"pgopt compares definitions by temporary objects that are rolled back; this role may not make any: {grant}"
            ) from error
        raise


def on_copy(session: Session, table: Relation, ask: Callable[[Composable], str], *, name: str | None = None) -> str:
    """Ask for a text about an empty copy of a table, which is given by its name.

    A function of the whole row takes rows of the table's own type only. Where there is one, those of the copy are given a cast
    to that, of which nothing is left in the text.
    """
    try:
        with copy_of(session, table, name) as copy:
            return ask(copy)
    except DBAPIError as error:
        if server_error(error).code not in _OF_ANOTHER_TYPE:
            raise
    with copy_of(session, table, name) as copy:
        session.run(*_cast(copy, table))
        with_cast, bare = session.row(_written(copy, table))
        # of several things the text is one of JSON
        return ask(copy).replace(with_cast, bare).replace(_in_json(with_cast), _in_json(bare))


@contextmanager
def copy_of(session: Session, table: Relation, name: str | None = None) -> Iterator[Composable]:
    """Make an empty copy of a table for a block, in a transaction that is rolled back, and give its name.

    It has the table's own name, since a predicate may say ``tickets.status``; other names mean what they mean without it.
    """
    own = "pgopt_probe" if (table.schema or "").startswith("pg_temp") else table.name
    with probe(session):
        try:
            session.run(sql("create temp table {} (like {} including generated)", ident(name or own), table.ident))
        except DBAPIError as error:
            if server_error(error).code != INSUFFICIENT_PRIVILEGE:
                raise
            session.abandon()
            if grant := session.value(sql(_UNREADABLE, table=literal(table.oid))):
                raise InvalidOperation(
                    f"pgopt compares definitions on an empty copy of {table}, and this role may not read the table: {grant}"
                ) from error
            raise
        session.value(_TEMP_LAST)
        yield ident("pg_temp", name or own)


def _cast(copy: Composable, table: Relation) -> list[Composable]:
    function = sql("{}({})", ident("pg_temp", "pgopt_probe_row"), copy)
    nothing = literal(render(sql("select null::{}", table.ident)))
    return [
        sql("create function {} returns {} immutable language sql as {}", function, table.ident, nothing),
        sql("create cast ({} as {}) with function {} as implicit", copy, table.ident, function),
    ]


def _written(copy: Composable, table: Relation) -> Composable:
    """Ask how the server writes a row with the cast, and without it."""
    return sql(
        "select format('(%I.*)::%s', c.relname, format_type(t.reltype, null)), format('%I.*', c.relname)"
        " from pg_class c, pg_class t where c.oid = {}::regclass and t.oid = {}::oid",
        literal(render(copy)),
        literal(table.oid),
    )


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
