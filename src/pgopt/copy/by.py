"""By what a table is partitioned: value objects for `partition_table` and its kin."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from uuid import UUID

from pgopt.errors import InvalidOperation
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

TIME_TYPES = ("date", "timestamp without time zone", "timestamp with time zone", "uuid", "bigint")
WHOLE_TYPES = ("smallint", "integer", "bigint", "numeric")
PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000}
WEEK = ("monday", "sunday", "saturday", "friday", "thursday", "wednesday", "tuesday")


@dataclass(frozen=True)
class Partitioning:
    """A column and the way in which its values are told apart."""

    column: str

    strategy: ClassVar[str]
    """The word of PARTITION BY."""

    def clause(self) -> Composable:
        """Write what follows PARTITION BY."""
        return sql("{} ({})", verbatim(self.strategy), ident(self.column))

    @abstractmethod
    def said(self, type_: str) -> dict[str, Any]:
        """Describe it to the functions of the pgopt schema, for a column of this type; refuse a type that does not fit."""

    def described(self, db: Catalog, table: Relation) -> dict[str, Any]:
        """Describe it for the column of a table, in the words in which it is read again."""
        said = self.said(beneath(db, db.column(table, self.column).type))
        described: dict[str, Any] = json.loads(json.dumps(said))
        return described


@dataclass(frozen=True)
class Time(Partitioning):
    """By time: a date, a timestamp, a UUID of version 7, or a number of seconds since 1970 as ``epoch`` says.

    Periods begin at midnight in ``timezone``, where the column holds instants.
    """

    _: KW_ONLY
    timezone: str = "UTC"
    epoch: Literal["s", "ms", "us"] | None = None

    strategy = "range"
    unit: ClassVar[str]
    step: ClassVar[str]
    suffix: ClassVar[str]

    def __post_init__(self) -> None:
        if self.epoch is not None and self.epoch not in PER_SECOND:
            raise InvalidOperation(f"epoch={self.epoch!r} of {self.column}: say {', '.join(PER_SECOND)}")

    def said(self, type_: str) -> dict[str, Any]:
        bare_type = bare(type_)
        if bare_type not in TIME_TYPES or (bare_type == "bigint") != (self.epoch is not None):
            raise InvalidOperation(
                f"column {self.column!r} is {type_}: {type(self).__name__} wants a date, a timestamp, a uuid of version 7, or a"
                " bigint with epoch='s', 'ms' or 'us'"
            )
        return {
            "kind": "time",
            "column": self.column,
            "type": bare_type,
            "unit": self.unit,
            "step": self.step,
            "suffix": self.suffix,
            "timezone": self.timezone,
            "per_second": PER_SECOND[self.epoch] if self.epoch else None,
        }


@dataclass(frozen=True)
class Daily(Time):
    """A partition a day."""

    unit, step, suffix = "day", "1 day", "YYYYMMDD"


@dataclass(frozen=True)
class Weekly(Time):
    """A partition a week, from the day that it begins with."""

    _: KW_ONLY
    starts_on: str = "monday"

    unit, step, suffix = "week", "7 days", "YYYYMMDD"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.starts_on not in WEEK:
            raise InvalidOperation(f"starts_on={self.starts_on!r} of {self.column}: say the name of a day in English")

    def said(self, type_: str) -> dict[str, Any]:
        return {**super().said(type_), "shift": f"{WEEK.index(self.starts_on)} days"}


@dataclass(frozen=True)
class Monthly(Time):
    """A partition a month."""

    unit, step, suffix = "month", "1 month", "YYYYMM"


@dataclass(frozen=True)
class Quarterly(Time):
    """A partition a quarter."""

    unit, step, suffix = "quarter", "3 months", 'YYYY"q"Q'


@dataclass(frozen=True)
class Yearly(Time):
    """A partition a year."""

    unit, step, suffix = "year", "1 year", "YYYY"


@dataclass(frozen=True)
class IntRange(Partitioning):
    """By ranges of a number: so many keys a partition."""

    step: int

    strategy = "range"

    def __post_init__(self) -> None:
        if self.step < 1:
            raise InvalidOperation(f"step={self.step!r} of {self.column}: say how many numbers a partition holds")

    def said(self, type_: str) -> dict[str, Any]:
        if bare(type_) not in WHOLE_TYPES:
            raise InvalidOperation(f"column {self.column!r} is {type_}: IntRange wants whole numbers")
        least, most = _ends_of(type_)
        return {"kind": "int", **asdict(self), "least": least, "most": most}


@dataclass(frozen=True)
class ListOf(Partitioning):
    """By named lists of values: ``ListOf("region", {"eu": ["DE", "FR"], "us": ["US"]})``.

    Numbers, dates and the like become the text that the server reads them from.
    """

    values: Mapping[str, Sequence[Any]]
    """Kept as text."""

    strategy = "list"

    def __post_init__(self) -> None:
        if not self.values:
            raise InvalidOperation(f"there are no lists of {self.column}: say which values each partition holds")
        object.__setattr__(self, "values", {name: self._texts(name, each) for name, each in self.values.items()})

    def _texts(self, name: str, values: Sequence[Any]) -> tuple[str, ...]:
        if isinstance(values, str | bytes) or not values:
            raise InvalidOperation(f"list {name!r} of {self.column} is {values!r}: write a list of values")
        if None in values:
            raise InvalidOperation(f"list {name!r} of {self.column} has None, which no partition holds: leave it out")
        try:
            return tuple(map(_text_of, values))
        except TypeError as error:
            raise InvalidOperation(f"list {name!r} of {self.column} has {error}: write it as text") from None

    def said(self, type_: str) -> dict[str, Any]:
        return {"kind": "list", "type": type_, **asdict(self)}


@dataclass(frozen=True)
class Hash(Partitioning):
    """By the hash of a column, in so many partitions."""

    partitions: int

    strategy = "hash"

    def __post_init__(self) -> None:
        if self.partitions < 1:
            raise InvalidOperation(f"partitions={self.partitions!r} of {self.column}: say how many")

    def said(self, type_: str) -> dict[str, Any]:
        return {"kind": "hash", "type": type_, **asdict(self)}


def _text_of(value: Any) -> str:
    """Write a value as the server reads it, whatever the type of the column is."""
    if isinstance(value, Enum):
        return _text_of(value.value) if isinstance(value, str | int) else value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return rf"\x{value.hex()}"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, str | int | float | Decimal | UUID):
        return str(value)
    raise TypeError(repr(value))


_BYTES = {"smallint": 2, "integer": 4, "bigint": 8}


def _ends_of(type_: str) -> tuple[int | None, int | None]:
    """Give the least and the greatest whole number that a type holds: no bound may be beyond them."""
    if type_ in _BYTES:
        half = 2 ** (8 * _BYTES[type_] - 1)
        return -half, half - 1
    if not (modifier := _MODIFIER.search(type_)):
        return None, None
    precision, scale = (int(number) for number in modifier[0][1:-1].split(","))
    most = (10**precision - 1) * 10**-scale if scale < 0 else (10**precision - 1) // 10**scale
    return -most, most


_MODIFIER = re.compile(r"\(\d+(,-?\d+)?\)")


def bare(type_: str) -> str:
    """Give a type without its modifier, which may stand in the middle: `timestamp(3) with time zone`."""
    return type_ if '"' in type_ else _MODIFIER.sub("", type_)


def beneath(db: Catalog, type_: str) -> str:
    """Give the type, with its modifier, that a domain is of: the bounds of its values are those of the domain's."""
    if bare(type_) in (*TIME_TYPES, *WHOLE_TYPES):
        return type_
    return str(db.session.value(query("beneath", __package__, type=literal(type_))))


def range_of(lower: str | None, upper: str | None) -> Composable:
    """Write the bounds of a range; none is the end of all values."""
    ends = [
        verbatim(otherwise) if value is None or value.lower() == otherwise else literal(value)
        for value, otherwise in ((lower, "minvalue"), (upper, "maxvalue"))
    ]
    return sql("for values from ({}) to ({})", *ends)


def list_of(values: Sequence[Any]) -> Composable:
    """Write the bounds of a list."""
    return sql("for values in ({})", joined(map(literal, values)))


def remainder_of(modulus: int, remainder: int) -> Composable:
    """Write the bounds of a hash."""
    return sql("for values with (modulus {}, remainder {})", literal(modulus), literal(remainder))
