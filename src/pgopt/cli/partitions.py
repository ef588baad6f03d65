"""`pgopt partitions [TABLE]`: what partitions there are, what is in them, and for how long they suffice."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, table_of, url_of
from pgopt.cli.plan import WIDTH, size
from pgopt.errors import InvalidOperation
from pgopt.server.catalog import Catalog
from pgopt.server.queries import query
from pgopt.server.quoting import literal
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import URL


@dataclass(frozen=True)
class Part:
    """A partition."""

    name: str
    lower: str | None
    upper: str | None
    rows: int | None
    """As ANALYZE has found them."""
    bytes: int


@dataclass(frozen=True)
class Parted:
    """A table with its partitions."""

    name: str
    kind: str
    column: str
    step: str
    premake: int
    keep: str | None
    on_expiry: str | None
    partitions: Sequence[Part]
    gaps: Sequence[tuple[str, str]]
    rows_in_default: bool
    """Whether the default partition has rows, which have none of their own."""
    headroom: float
    """How many hours, or numbers, it is to where no partition is."""

    @property
    def hours(self) -> float | None:
        """How long it is to where no partition is; of numbers nobody knows."""
        return self.headroom if self.kind == "time" else None


def partitions(
    table: Annotated[str | None, typer.Argument(help="One table, or schema.table; else all.")] = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    warn_hours: Annotated[float, typer.Option(help="Exit with 1 if partitions end in fewer hours.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Show partitions with their bounds, sizes and rows, gaps, and for how many hours they suffice."""
    found = look(url_of(url, config_of(config, name, x)), table)
    if as_json:
        typer.echo(json.dumps([{**asdict(each), "hours": each.hours} for each in found], indent=2))
    else:
        typer.echo("\n".join(text(found)))
    if any(each.hours is not None and each.hours < warn_hours for each in found):
        raise typer.Exit(1)


def look(url: URL, table: str | None = None) -> list[Parted]:
    """Ask the database; nothing is changed."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        db = Catalog(Session(connection))
        db.require_pgopt()
        oid = None if table is None else table_of(db, table).oid
        found = [_parted(row[1:]) for row in db.session.rows(query("partitions", "pgopt.cli", table=literal(oid)))]
    if table is not None and not found:
        raise InvalidOperation(
            f"pgopt knows no partitions of {table} by time or numbers: op.partition_table makes them"
        )
    return found


def _parted(row: Sequence[Any]) -> Parted:
    schema, table, kind, column, step, premake, keep, on_expiry, today, parts = row
    said: list[dict[str, Any]] = json.loads(parts or "[]")
    ranges = [each for each in said if each["low"] is not None]
    return Parted(
        f"{schema}.{table}",
        kind,
        column,
        step,
        premake,
        keep,
        on_expiry,
        [
            Part(
                each["name"] if each["schema"] == schema else f"{each['schema']}.{each['name']}",
                each["lower"],
                each["upper"],
                None if each["rows"] is None else int(each["rows"]),
                each["bytes"],
            )
            for each in said
        ],
        [(one["upper"], two["lower"]) for one, two in pairwise(ranges) if one["high"] != two["low"]],
        any(each["in_use"] for each in said),
        round(_headroom(ranges, today) / (3600 if kind == "time" else 1), 1),
    )


def _headroom(ranges: list[dict[str, Any]], today: Decimal) -> float:
    """Go from partition to partition, from the one that is in use, to where there is none."""
    end = today
    for each in ranges:
        if Decimal(each["low"]) <= end < Decimal(each["high"]):
            end = Decimal(each["high"])
    return float(end - today)


# -- as text -------------------------------------------------------------------------------------------------------------


def text(found: Sequence[Parted]) -> Iterator[str]:
    """Say it in lines that need no terminal."""
    if not found:
        yield "pgopt knows no partitions by time or numbers here"
    for each in found:
        rule = f", keeps {each.keep}, then {each.on_expiry}" if each.keep else ""
        yield each.name
        yield f"  by {each.column}, {each.step} each, {each.premake} made ahead{rule}"
        for part in each.partitions:
            yield from _line(part)
        for lower, upper in each.gaps:
            yield f"  gap: from {_short(lower)} to {_short(upper)}"
        if each.rows_in_default:
            yield "  the default partition has rows that have no partition of their own"
        yield f"  there are partitions for {each.headroom:,.0f} {'hours' if each.kind == 'time' else 'numbers'} more"


def _line(part: Part) -> Iterator[str]:
    bounds = f"{_short(part.lower)} to {_short(part.upper)}" if part.lower else "default"
    rows = "not analyzed" if part.rows is None else f"about {part.rows:,} rows"
    rest = f"{rows:>22} {size(part.bytes):>10}"
    line = f"  {part.name:31} {bounds:30} {rest}"
    if len(line) <= WIDTH:
        yield line
    else:
        yield f"  {part.name}"
        yield f"    {bounds}"
        yield f"{rest:>98}"


def _short(bound: str | None) -> str:
    return (bound or "").removesuffix("+00").removesuffix(" 00:00:00")
