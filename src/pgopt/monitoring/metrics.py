"""The figures of `pgopt health` for Prometheus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from pgopt.monitoring import SLOW_QUERIES
from pgopt.monitoring.checks import CHECKS, asked, look, readable, rows_of
from pgopt.server.queries import query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.core import Metric

    from pgopt.monitoring.checks import Row
    from pgopt.server.session import Session

STATEMENTS = 100
"""How many statements are told of: each is a time series."""


@dataclass(frozen=True)
class Family:
    """One metric: what it is called, which labels it has, and what it is of each row."""

    name: str
    says: str
    labels: Sequence[str]
    value: Callable[[Row], float | None]
    counts: bool = False
    """Whether it only goes up, but for resets."""

    def of(self, rows: Iterable[Row]) -> Metric:
        """Measure each row; what is not known is left out."""
        kind = CounterMetricFamily if self.counts else GaugeMetricFamily
        family = kind(f"pgopt_{self.name}", self.says, labels=list(self.labels))
        for row in rows:
            if (value := self.value(row)) is not None:
                family.add_metric([str(row[label]) for label in self.labels], float(value))
        return family


def metrics(session: Session) -> Iterator[Metric]:
    """Measure everything, inside `reading`."""
    health = look(session)
    found = Counter(finding.check for finding in health.findings)
    yield FINDINGS.of([{"check": check, "value": found[check]} for check in sorted({*CHECKS, *found})])
    worst = max((finding.hurts for finding in health.findings), default=0)
    yield WORST.of([{"value": worst}])
    notes: list[str] = []
    for name, families in FAMILIES.items():
        rows = _rows(session, name, notes)
        yield from (family.of(rows) for family in families)
    yield NOTES.of([{"value": len({*health.notes, *notes})}])


def _rows(session: Session, name: str, notes: list[str]) -> Sequence[Row]:
    if name == "view_ages":
        return asked(session, name, query(name, __package__), notes) if readable(session, "freshness") else []
    if name in OWN:
        return asked(session, name, query(name, __package__), notes)
    rows = rows_of(session, name, notes)
    if name == SLOW_QUERIES:
        return [row for row in rows if row["queryid"] is not None][:STATEMENTS]
    return rows


def _column(name: str, unit: float = 1) -> Callable[[Row], float | None]:
    """Give a column of a row, in another unit."""

    def value(row: Row) -> float | None:
        return None if row[name] is None else float(row[name]) * unit

    return value


def _gauge(name: str, says: str, labels: str, column: str, unit: float = 1) -> Family:
    return Family(name, says, labels.split(), _column(column, unit))


def _counter(name: str, says: str, labels: str, column: str, unit: float = 1) -> Family:
    return Family(name, says, labels.split(), _column(column, unit), counts=True)


OWN = ("surroundings", "sessions")
"""What is asked for the page and for this alone."""

FINDINGS = _gauge("findings", "What pgopt health finds wrong, by check.", "check", "value")
WORST = _gauge("worst_finding", "How much the worst finding hurts, from 0 to 100.", "", "value")
NOTES = _gauge("checks_not_made", "Checks that could not be made.", "", "value")

_TABLE, _STATEMENT = "schema_name table_name", "queryid role"

FAMILIES: dict[str, Sequence[Family]] = {
    "surroundings": [_gauge("database_bytes", "The size of the database.", "database", "bytes")],
    "sessions": [
        _gauge("sessions", "Sessions of the database.", "state", "sessions"),
        _gauge("sessions_waiting", "Sessions that wait for a lock.", "state", "waiting"),
        _gauge("longest_transaction_seconds", "How long the oldest transaction is open.", "state", "longest"),
    ],
    "table_sizes": [
        _gauge("table_bytes", "Rows of a table with all its partitions.", _TABLE, "table_bytes"),
        _gauge("table_index_bytes", "Its indexes.", _TABLE, "index_bytes"),
        _gauge("table_toast_bytes", "Its long values.", _TABLE, "toast_bytes"),
    ],
    "vacuum_state": [
        _gauge("table_dead_rows", "Dead rows of a table or partition.", _TABLE, "dead_rows"),
        _gauge("table_xids_left", "Transactions before the server takes no more writes.", _TABLE, "xids_left"),
    ],
    "cache_hit": [
        _counter("blocks_hit", "Blocks found in shared buffers.", "kind", "hits"),
        _counter("blocks_read", "Blocks not found there.", "kind", "reads"),
    ],
    "sequence_headroom": [
        _gauge("sequence_used_ratio", "What a sequence has used.", "schema_name sequence_name", "used_percent", 0.01)
    ],
    "partition_headroom": [
        _gauge("partition_seconds_left", "How long the partitions will do.", _TABLE, "hours_left", 3600)
    ],
    "view_ages": [_gauge("view_age_seconds", "The age of a materialized view's rows.", "schema_name view_name", "age")],
    SLOW_QUERIES: [
        _counter("statement_calls", "Calls of a statement.", _STATEMENT, "calls"),
        _counter("statement_seconds", "Time that a statement took.", _STATEMENT, "total_exec_time", 0.001),
        _counter("statement_rows", "Rows that a statement gave or wrote.", _STATEMENT, "rows"),
    ],
}


class Collected:
    """What the client library asks when somebody wants the figures."""

    def __init__(self, measure: Callable[[], Iterable[Metric]]) -> None:
        self.measure = measure

    def collect(self) -> Iterable[Metric]:
        """Measure everything."""
        return self.measure()

    def describe(self) -> Iterable[Any]:
        """Say nothing before, since names come from the database."""
        return ()
