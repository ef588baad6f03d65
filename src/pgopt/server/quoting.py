"""The one place where text becomes SQL.

psycopg composes; it is imported at the first use, since every `alembic` command loads pgopt.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, LiteralString

from pgopt.errors import InvalidOperation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from psycopg.sql import Composable, Composed

NAME_BYTES = 63
_HASH_CHARS = 8


def sql(template: LiteralString, *args: Composable, **kwargs: Composable) -> Composed:
    """Compose a statement: ``sql("drop index {}", ident(name))``."""
    from psycopg.sql import SQL

    return SQL(template).format(*args, **kwargs)


def ident(*names: str | None) -> Composable:
    """Quote a name, with the schema or table before it where there is one."""
    from psycopg.sql import Identifier

    return Identifier(*(name for name in names if name is not None))


def literal(value: Any) -> Composable:
    """Quote a value."""
    from psycopg.sql import Literal

    return Literal(value)


def verbatim(text: str) -> Composable:
    """SQL that the migration's author wrote: a predicate, an expression. A comment at its end ends with it."""
    from psycopg.sql import SQL

    return SQL(f"{text}\n" if "--" in text else text)


def joined(parts: Iterable[Composable], separator: LiteralString = ", ") -> Composed:
    """Join parts by commas, or by what is said."""
    from psycopg.sql import SQL

    return SQL(separator).join(parts)


def options(values: Mapping[str, Any]) -> Composed:
    """Render storage parameters: ``fillfactor = 70, autosummarize = on``."""
    return joined(sql("{} = {}", parameter(key), literal(_option(value))) for key, value in values.items())


def parameter(name: str) -> Composable:
    """Quote the name of a storage parameter, which may begin with ``toast.``."""
    return ident(*name.split("."))


def option_text(value: Any) -> str:
    """Give the value of a storage parameter as the catalog keeps it."""
    return str(_option(value))


def dollars(write: Callable[[Composable], Composable]) -> Composable:
    """Write a DO block between dollar quotes that do not occur in it."""
    text = render(write(verbatim("")))
    tag, number = "$pgopt$", 0
    while tag in text:
        number += 1
        tag = f"$pgopt{number}$"
    return write(verbatim(tag))


def block(statements: Iterable[Composable]) -> Composable:
    """Send statements as one: fifty round trips would be fifty places to be interrupted at."""
    return dollars(lambda tag: sql("do {}\nbegin\n{};\nend\n{}", tag, joined(statements, ";\n"), tag))


def render(statement: Composable | str) -> str:
    """Give the text that is sent to the server."""
    return statement if isinstance(statement, str) else statement.as_string(None)


def name_of(*parts: str) -> str:
    """Join parts to a name of at most 63 bytes; what is too long ends in a hash of the whole."""
    name = "_".join(parts)
    if len(name.encode()) <= NAME_BYTES:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=_HASH_CHARS // 2).hexdigest()
    room = NAME_BYTES - _HASH_CHARS - 1
    return f"{name.encode()[:room].decode(errors='ignore')}_{digest}"


def check_name(name: str, what: str) -> None:
    """Refuse a name that PostgreSQL would cut silently or cannot hold."""
    if not name:
        raise InvalidOperation(f"{what} has an empty name")
    if "\0" in name:
        raise InvalidOperation(f"the name {name!r} of {what} holds a zero byte")
    if (size := len(name.encode())) > NAME_BYTES:
        raise InvalidOperation(
            f"the name {name!r} of {what} has {size} bytes, and PostgreSQL keeps {NAME_BYTES}: choose a shorter one"
        )


_COLUMN = re.compile(
    r"""\s*(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\W\d][\w$]*))(?:\s+(?P<rest>[A-Za-z"].*?))?\s*""", re.DOTALL
)


def column(text: str) -> Composable:
    """Read one column of an index: a name with what follows it, or an expression.

    A name stands for itself, as with Alembic (``userId desc`` is the column ``"userId"``); one with spaces is quoted
    (``"first name" desc``). All else is an expression as in CREATE INDEX: a function call, or text in parentheses.
    """
    match = _COLUMN.fullmatch(text)
    if match is None:
        return verbatim(text.strip())
    name = match["plain"] or match["quoted"].replace('""', '"')
    return sql("{} {}", ident(name), verbatim(match["rest"])) if match["rest"] else ident(name)


def column_name(text: str) -> str | None:
    """Give the name of a column of an index, or nothing for an expression."""
    match = _COLUMN.fullmatch(text)
    return (match["plain"] or match["quoted"].replace('""', '"')) if match else None


def names_table(text: str, table: str) -> bool:
    """Whether an expression names a column of a table with the table's schema, which none but a query can."""
    name = rf'(?:{re.escape(table)}|"{re.escape(table.replace(chr(34), chr(34) * 2))}")'
    return re.search(rf"""[\w"]\s*\.\s*{name}\s*\.\s*["\w]""", re.sub(r"'(?:[^']|'')*'", "''", text)) is not None


def _option(value: Any) -> Any:
    return ("on" if value else "off") if isinstance(value, bool) else value
