"""SQLAlchemy expressions as the text that PostgreSQL reads."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.elements import ClauseElement, ColumnClause, ColumnElement, UnaryExpression
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.types import TypeEngine


def text_of(value: Any) -> Any:
    """Compile an expression, column, mapped attribute, query or type; give anything else back as it is."""
    if isinstance(value, type) and issubclass(value, TypeEngine):
        value = value()
    if isinstance(value, TypeEngine):
        return value.compile(dialect=_dialect())
    if hasattr(value, "__clause_element__"):
        value = value.__clause_element__()
    if not isinstance(value, ClauseElement):
        return value
    if isinstance(value, ColumnElement) and not isinstance(value, ColumnClause | UnaryExpression):
        value = value.self_group()
    # of which table a column is only a query tells
    return str(
        value.compile(
            dialect=_dialect(), compile_kwargs={"literal_binds": True, "include_table": isinstance(value, SelectBase)}
        )
    )


def _dialect() -> PGDialect:
    # paramstyle named: the drivers' own would double each %
    dialect = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
    # nor is a backslash doubled, as SQLAlchemy 2.0 does until it has asked a server for standard_conforming_strings
    dialect._backslash_escapes = False
    return dialect
