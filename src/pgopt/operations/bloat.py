"""Indexes that have grown far beyond what their rows need are rebuilt, and what that gained is written down."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation, NeedsDatabase, NotInstalled
from pgopt.operations import index_steps as steps
from pgopt.operations.base import Action, operation
from pgopt.plan.step import Step
from pgopt.server.quoting import literal, sql, verbatim
from pgopt.server.session import server_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgopt.server.catalog import Catalog


@operation("reindex_bloated")
class ReindexBloated(Action):
    """Rebuild the B-tree indexes that are larger than they need be by ``above``, one by one, those with most to give back first.

    By an estimate from the statistics of ANALYZE, where that can be relied on; where the extension pgstattuple is there, it
    reads each of these indexes, and those of which no estimate can be relied on, and decides. Takes SHARE UPDATE EXCLUSIVE on one table at a time, as `reindex_concurrently`. What was
    gained is in `pgopt.reindex`. ``schema`` leaves out all others. By a job: ``select pgopt.reindex_bloated('100 MB')``,
    which has one index rebuilt at a time. Needs `install_pgopt` and `install_monitoring`::

        op.reindex_bloated(above="100 MB")
        op.schedule_job("bloat", "select pgopt.reindex_bloated('100 MB')", cron="*/5 2-4 * * sun")
    """

    _: KW_ONLY
    above: str = "100 MB"
    schema: str | None = None

    def subject(self, db: Catalog) -> str:  # noqa: ARG002
        return "the bloated indexes"

    def plan(self, db: Catalog) -> Iterator[Step]:
        if not db.online:
            raise NeedsDatabase("it must see which indexes are bloated: run it online")
        db.require_pgopt()
        if db.session.value("select to_regclass('pgopt.index_bloat')") is None:
            raise NotInstalled(
                "bloat is estimated by the views of pgopt: add op.install_monitoring() to an earlier revision",
                by="install_monitoring",
            )
        found = list(self._bloated(db))
        if db.session.value(f"select exists ({_INTERRUPTED})"):
            yield Step("write down what an interrupted run has gained", verbatim("select pgopt.settle_reindexes(true)"))
        for oid, table, bloat, measured in found:
            index = db.by_oid(oid)
            begin = sql("select pgopt.begin_reindex({}, {}, {})", *map(literal, (oid, bloat, measured)))
            yield Step(f"write down how large {index} is, of which {bloat:,} bytes are not needed", begin)
            yield steps.reindex(index, db.by_oid(table))
            yield Step(f"write down what was gained by {index}", verbatim("select pgopt.settle_reindexes()"))

    def _bloated(self, db: Catalog) -> Iterator[tuple[int, int, int, bool]]:
        """Give the bloated indexes with their tables, how many bytes they do not need, and whether that was measured."""
        above = self._above(db)
        rows = db.session.rows(sql(_BLOATED, above=literal(above), schema=literal(self.schema)))
        found = [
            (oid, table, estimated if measured is None else measured, measured is not None)
            for oid, table, estimated, measured in rows
        ]
        yield from sorted((each for each in found if (each[2] or 0) >= above), key=lambda each: -each[2])

    def _above(self, db: Catalog) -> int:
        try:
            with db.session.rolled_back():
                above: int = db.session.value(sql("select pg_size_bytes({})", literal(self.above)))
        except DBAPIError as error:
            raise InvalidOperation(f"above={self.above!r}: {server_error(error).sentence}") from error
        return above


_INTERRUPTED = "select from pgopt.reindex where finished_at is null and job is null"
_BLOATED = """select i.indexrelid::int8, i.indrelid::int8, b.bloat_bytes, pgopt.measured_bloat(b.index)
from pgopt.bloated_indexes({above}) b join pg_index i on i.indexrelid = b.index
where b.schema_name = coalesce({schema}, b.schema_name)
order by b.bloat_bytes desc"""
