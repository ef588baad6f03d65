"""What the page of `pgopt health --html` shows: findings, sizes, slow statements and, from the snapshots, trends."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from pgopt.monitoring import SLOW_QUERIES, charts
from pgopt.monitoring.checks import Health, asked, look, readable, rows_of
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mako.template import Template
    from psycopg.sql import Composable

    from pgopt.monitoring.checks import Row
    from pgopt.server.session import Session

MOST = 25
"""How many tables and statements are shown."""
DAYS = 7
"""Of how many days snapshots are shown."""


@dataclass
class Report:
    """All that is on the page."""

    surroundings: Row
    health: Health
    sizes: Sequence[Row]
    statements: Sequence[Row]
    views: Sequence[Row] = ()
    trend: Sequence[Row] = ()
    growth: dict[tuple[str, str], int] = field(default_factory=dict)
    statements_since: float | None = None
    """When the snapshots begin that tell of the statements; nothing where they are told by the server alone."""

    def page(self) -> str:
        """Write it as one page of HTML that needs nothing else."""
        return str(_template().render(it=self, charts=charts, size=size, amount=amount, duration=duration, hurts=hurts))

    @property
    def since(self) -> float | None:
        """When the first of the snapshots was taken."""
        return float(self.trend[0]["at"]) if len(self.trend) > 1 else None

    @property
    def lines(self) -> Iterator[charts.Line]:
        """The charts of the snapshots; what was never measured is left out."""
        for title, name, say, from_nothing in _LINES:
            points = [charts.Point(row["at"], row[name], row["reset"] and name in _COUNTED) for row in self.trend]
            line = charts.Line(title, points, say, from_nothing, bytes=say is size)
            if line.known:
                yield line


def gather(session: Session) -> Report:
    """Read all of it, inside `reading`; the findings first, whatever becomes of the rest."""
    health = look(session)
    notes = health.notes
    (surroundings,) = asked(session, "surroundings", query("surroundings", __package__), notes)
    trend = _trend(session, notes)
    report = Report(
        surroundings,
        health,
        sizes=[row for row in rows_of(session, "table_sizes", notes) if row["schema_name"] != "pgopt"][:MOST],
        statements=[],
        trend=trend,
    )
    _add_statements(session, report)
    if readable(session, "freshness"):
        report.views = asked(session, "freshness", query("view_ages", __package__), notes)
    if report.since is not None:
        between = _between("tables_between", trend)
        rows = asked(session, "tables_between", between, notes)
        report.growth = {(row["schema_name"], row["table_name"]): row["growth"] for row in rows}
    return report


def _trend(session: Session, notes: list[str]) -> Sequence[Row]:
    if not readable(session, "snapshot"):
        return []
    return asked(session, "snapshots", query("trend", __package__, days=literal(DAYS)), notes)


def _add_statements(session: Session, report: Report) -> None:
    """Take those of the snapshots, or of all time where there are none."""
    notes = report.health.notes
    if report.since is not None:
        rows = asked(session, "statements", _between("statements_between", report.trend), notes)
        report.statements = [row for row in rows if row["queryid"] is not None][:MOST]
    if report.statements:
        report.statements_since = report.since
        return
    report.statements = [
        {**row, "milliseconds": row["total_exec_time"], "mean_milliseconds": row["mean_exec_time"]}
        for row in rows_of(session, SLOW_QUERIES, notes)[:MOST]
    ]


def _between(function: str, trend: Sequence[Row]) -> Composable:
    ends = literal(trend[0]["first"]), literal(trend[-1]["last"])
    return sql("select * from {}({}, {})", ident("pgopt", function), *ends)


@cache
def _template() -> Template:
    from mako.template import Template

    text = (resources.files(__package__) / "page.html.mako").read_text()
    # everything is escaped but what says that it is markup
    return Template(text, default_filters=["h"], strict_undefined=True)  # noqa: S702


# -- words ---------------------------------------------------------------------------------------------------------------


def size(count: float) -> str:
    """Say a number of bytes as people do."""
    return _scaled(count, 1024, (" B", " kB", " MB", " GB", " TB"))


def amount(count: float) -> str:
    """Say how many, in few letters."""
    return _scaled(count, 1000, ("", " k", " M", " G"))


def _scaled(count: float, base: int, units: Sequence[str]) -> str:
    """Say a number in the first unit in which it has three digits at most, or in the last."""
    value, rest = float(count), list(units)
    while abs(value) >= 1000 and len(rest) > 1:
        value /= base
        rest.pop(0)
    whole = abs(value) >= 100 or value == round(value)
    return f"{value:.0f}{rest[0]}" if whole else f"{value:.3g}{rest[0]}"


def duration(seconds: float) -> str:
    """Say how long, in the unit that fits."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"


def hurts(much: int) -> str:
    """Say in a word how much something hurts."""
    return "now" if much >= 75 else "soon" if much >= 45 else "some day"


_LINES = (
    ("Size of the database", "database_bytes", size, False),
    ("Bloat, as estimated", "bloat_bytes", size, True),
    ("Dead rows", "dead_rows", amount, True),
    ("Connections, at most", "connections", amount, True),
    ("Commits a second", "commits", amount, True),
    ("Rows written a second", "rows_written", amount, True),
    ("Found in shared buffers, %", "hit_percent", amount, False),
    ("Longest transaction", "longest_transaction", duration, True),
)
_COUNTED = ("commits", "rows_written", "hit_percent")
