"""Rules by which partitioned tables go on: how far ahead partitions are made, and when old ones are taken out."""

from __future__ import annotations

import json
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.exc import DBAPIError

from pgopt.copy.memory import Memory
from pgopt.copy.native import by_of
from pgopt.errors import InvalidOperation
from pgopt.operations.base import StateOperation, operation, other
from pgopt.plan.step import Step
from pgopt.server.quoting import literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation
    from pgopt.server.undo import Kept

WAYS = ("detach", "drop", "archive")
UNKNOWN = {"known": False}
"""What is remembered of a table of which pgopt knew nothing."""


@dataclass(frozen=True, repr=False)
class RuleOperation(StateOperation):
    """A table whose partitions are managed."""

    table: str
    _: KW_ONLY
    premake: int | None = None
    keep: str | int | None = None
    on_expiry: Literal["detach", "drop", "archive"] = "detach"
    archive_schema: str | None = None
    schema: str | None = None

    def check(self) -> None:
        if self.on_expiry not in WAYS:
            raise InvalidOperation(
                f"on_expiry={self.on_expiry!r} of {self.table}: say {', '.join(map(repr, WAYS[:-1]))} or {WAYS[-1]!r}"
            )
        if (self.on_expiry == "archive") != (self.archive_schema is not None):
            raise InvalidOperation(
                f"{self.table}: on_expiry='archive' and archive_schema= go together: say both or none"
            )
        if self.premake is not None and self.premake < 0:
            raise InvalidOperation(f"premake={self.premake!r} of {self.table}: say how many partitions are made ahead")

    def kept(self, db: Catalog, table: Relation) -> Kept:
        """Give the place where it is written down what the rule was."""
        return db.memory.of("manage_partitions", str(table))

    def looked_up(self, db: Catalog) -> tuple[Relation, Memory | None]:
        """Look up a partitioned table, with what pgopt knows of it."""
        db.require_pgopt()
        table = db.table(self.table, self.schema)
        memory = Memory.of(db, table)
        if not table.partitioned:
            raise InvalidOperation(
                f"{table} is not partitioned: make it so with op.partition_table or op.create_partitioned_table first"
            )
        return table, memory

    @property
    def rule(self) -> dict[str, Any]:
        """The rule as it is kept; of what is not said in it nothing is known."""
        said: dict[str, Any] = {} if self.premake is None else {"premake": self.premake}
        keep = None if self.keep is None else str(self.keep)
        way = None if keep is None else self.on_expiry
        return {**said, "keep": keep, "on_expiry": way, "archive_schema": self.archive_schema if keep else None}

    def has(self, db: Catalog, table: Relation) -> bool:
        """Whether this is the rule that is there."""
        there = rule_of(db, table)
        return there is not None and all(there[name] == value for name, value in self.rule.items())


@operation("manage_partitions")
class ManagePartitions(RuleOperation):
    """Say how partitions of a table go on: how many are made ahead, and how long rows are kept.

    Nothing is made or taken out here: ``select * from pgopt.maintain_partitions()`` does, by hand, by pg_cron or by a worker.
    Locks nothing. A partition whose rows are all older than ``keep`` is detached, and then dropped or moved to
    ``archive_schema`` as ``on_expiry`` says; the last partition and the default always stay. How a table that
    others made is partitioned is read from its partitions: days, weeks, months, quarters, years, or equal ranges of numbers.
    For a table by numbers ``keep`` is how many numbers behind the greatest are kept. The rule that was there before is given back by
    `unmanage_partitions`. Needs `install_pgopt`::

        op.manage_partitions("audit_logs", premake=3, keep="12 months", on_expiry="drop")
    """

    def check(self) -> None:
        super().check()
        if self.premake is None and self.keep is None:
            raise InvalidOperation(f"{self.title} says nothing: say premake=3, keep='12 months', or both")

    def reverse(self) -> UnmanagePartitions:
        return other(UnmanagePartitions, self)

    def notes(self, db: Catalog) -> Sequence[str]:  # noqa: ARG002
        if self.keep is None or self.on_expiry != "drop":
            return ()
        return (f"rows of {self.table} older than {self.keep} will be dropped, which nothing brings back",)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table, memory = self.looked_up(db)
        native = memory is None
        if memory is None:
            by = by_of(db, table)
            memory = replace(Memory.native(db, table), by=by)
        self._check_fit(db, table, memory)
        kept, rule = self.kept(db, table), literal_of(self.rule)
        was = sql(
            "select jsonb_build_object('premake', premake, 'keep', keep, 'on_expiry', on_expiry, 'archive_schema', archive_schema)"
            " from pgopt.partitioned where relation = {}::oid",
            literal(table.oid),
        )
        yield Step(
            f"write down how the partitions of {table} go on",
            [
                kept.forget()
                if db.memory.down
                else kept.keep(sql("select {}", literal_of(UNKNOWN)) if native else was),
                *([memory.write(table, plain=None)] if native else []),
                _set(table, rule),
            ],
            done=lambda db: self.has(db, table) and (db.was(kept) is None) == db.memory.down,
        )

    def _check_fit(self, db: Catalog, table: Relation, memory: Memory) -> None:
        kind = memory.by.get("kind")
        if kind not in ("time", "int"):
            raise InvalidOperation(f"{table} is partitioned by {kind}: pgopt manages only ranges of time or numbers")
        if self.archive_schema is not None and not db.session.value(
            sql("select exists (select from pg_namespace where nspname = {})", literal(self.archive_schema))
        ):
            raise InvalidOperation(f"there is no schema {self.archive_schema!r} to archive to: create it first")
        if self.keep is not None:
            self._check_keep(db, table, kind)

    def _check_keep(self, db: Catalog, table: Relation, kind: str) -> None:
        if kind == "int":
            if not str(self.keep).isdigit():
                raise InvalidOperation(
                    f"keep={self.keep!r} of {table}: say how many numbers behind the greatest are kept"
                )
        elif not isinstance(self.keep, str) or not _is_interval(db, self.keep):
            raise InvalidOperation(f"keep={self.keep!r} of {table}: say an interval such as '12 months'")


@operation("unmanage_partitions")
class UnmanagePartitions(RuleOperation):
    """Give back the rule that `manage_partitions` has found, or take away the one that is there.

    Partitions that were made ahead stay, and what was taken out is not brought back. Locks nothing. With the arguments of
    `manage_partitions` it can be undone. Needs `install_pgopt`::

        op.unmanage_partitions("audit_logs")
    """

    def reverse(self) -> ManagePartitions:
        return other(ManagePartitions, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table, memory = self.looked_up(db)
        if memory is None:
            return
        kept = self.kept(db, table)
        none = literal_of(dict.fromkeys(("keep", "on_expiry", "archive_schema")))
        given_back = sql("coalesce((select was from pgopt.undo where {}), {})", kept.where, none)
        yield Step(
            f"give back how the partitions of {table} went on",
            [_set(table, given_back), _forget_unknown(table, kept), kept.forget()],
            done=lambda db: db.was(kept) is None and not self._is_there(db, table),
        )

    def _is_there(self, db: Catalog, table: Relation) -> bool:
        """Whether the rule is there that this takes away: the one that is said, or any."""
        any_of_them = self.premake is None and self.keep is None
        there = rule_of(db, table)
        return there is not None and there["keep"] is not None and (any_of_them or self.has(db, table))


def rule_of(db: Catalog, table: Relation) -> dict[str, Any] | None:
    """Read the rule of a table, where pgopt knows it."""
    columns = ("premake", "keep", "on_expiry", "archive_schema")
    row = db.session.row(
        sql(
            "select premake, keep, on_expiry, archive_schema from pgopt.partitioned where relation = {}::oid",
            literal(table.oid),
        )
    )
    return row and dict(zip(columns, row, strict=True))


def literal_of(values: dict[str, Any]) -> Composable:
    """Write values as jsonb."""
    return sql("{}::jsonb", literal(json.dumps(values)))


def _forget_unknown(table: Relation, kept: Kept) -> Composable:
    """Forget a table of which nothing was known before."""
    return sql(
        "delete from pgopt.partitioned where relation = {}::oid and exists (select from pgopt.undo where {} and was = {})",
        literal(table.oid),
        kept.where,
        literal_of(UNKNOWN),
    )


def _set(table: Relation, rule: Composable) -> Composable:
    """Write a rule; what it does not say stays, and what it says is none is none."""
    return sql(
        "update pgopt.partitioned p set premake = n.premake, keep = n.keep, on_expiry = n.on_expiry,"
        " archive_schema = n.archive_schema from jsonb_populate_record((select q from pgopt.partitioned q where q.relation = {}::oid), {}) n"
        " where p.relation = {}::oid",
        literal(table.oid),
        rule,
        literal(table.oid),
    )


def _is_interval(db: Catalog, text: str) -> bool:
    """Whether the server reads it as an interval that is longer than none."""
    try:
        with db.session.rolled_back():
            return bool(db.session.value(sql("select {}::interval > '0'", literal(text))))
    except DBAPIError:
        return False
