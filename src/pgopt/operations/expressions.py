"""SQLAlchemy expressions as the text that PostgreSQL reads."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import CompileError
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, Case, ClauseElement, ColumnClause, ColumnElement, UnaryExpression
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import TypeEngine

from pgopt.errors import InvalidOperation


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
    _refuse_unbound(value)
    return _grouped(value)


def _grouped(value: ClauseElement) -> str:
    """Write an expression so that it may stand as a column of an index."""
    if isinstance(value, UnaryExpression) and value.modifier in _ORDERS:
        return f"{_grouped(value.element)} {_ORDERS[value.modifier]}"
    if isinstance(value, UnaryExpression | Case):
        return f"({_text(value)})"
    if isinstance(value, ColumnElement) and not isinstance(value, ColumnClause):
        value = value.self_group()
    return _text(value)


_ORDERS = {
    operators.desc_op: "DESC",
    operators.asc_op: "ASC",
    operators.nulls_first_op: "NULLS FIRST",
    operators.nulls_last_op: "NULLS LAST",
}


def _text(value: ClauseElement) -> str:
    # of which table a column is only a query tells
    options = {"literal_binds": True, "include_table": isinstance(value, SelectBase)}
    try:
        return str(value.compile(dialect=_dialect(), compile_kwargs=options))
    except CompileError as error:
        raise InvalidOperation(f"an expression cannot be written as SQL: {error}: say it as text") from error


def _refuse_unbound(value: ClauseElement) -> None:
    """Refuse what stands for a value and has none: it would be written as NULL."""
    binds = (bind for each in iterate(value) for bind in (each, *getattr(each, "_bindparams", {}).values()))
    for bind in binds:
        if isinstance(bind, BindParameter) and bind.required and bind.value is None and bind.callable is None:
            raise InvalidOperation(
                f":{bind.key} in {str(value)!r} has no value: say .bindparams({bind.key}=…), or \\:{bind.key} where it is text"
            )


def _dialect() -> PGDialect:
    # paramstyle named: the drivers' own would double each %
    dialect = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
    # nor is a backslash doubled, as SQLAlchemy 2.0 does until it has asked a server for standard_conforming_strings
    dialect._backslash_escapes = False
    return dialect
