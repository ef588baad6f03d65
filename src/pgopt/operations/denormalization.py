"""Columns that triggers keep equal to what another table says, so that it need not be joined or counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pgopt.denormal.deferring import triggers_of
from pgopt.denormal.definition import known
from pgopt.denormal.drift import look, unwatched
from pgopt.denormal.planning import Wish
from pgopt.errors import InvalidOperation, StatementFailed
from pgopt.operations.base import Action, StateOperation, operation, other
from pgopt.operations.jobs import EVERY, ScheduleJob
from pgopt.plan.step import BatchStep, Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import above
from pgopt.server.quoting import check_name, ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.denormal.definition import Definition
    from pgopt.plan.step import AnyStep
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True, repr=False)
class Denormalization(StateOperation):
    """What is kept in a table, from a source."""

    aggregate: ClassVar[bool]

    table: str
    _: KW_ONLY
    source: str
    on: Mapping[str, str]
    columns: Mapping[str, Any]
    read_only: bool = False
    deferred: str | None = None
    schema: str | None = None
    source_schema: str | None = None

    def check(self) -> None:
        if not self.on or not self.columns:
            raise InvalidOperation(f"{self.title}: say on={{'id': 'the_id'}} and columns={{'name': 'expression'}}")
        for name in self.columns:
            check_name(name, f"a column of {self.table}")
        if self.deferred is not None:
            folding("", self.deferred, self.table, list(self.columns)).check()

    @property
    def defaults_said(self) -> Mapping[str, Any]:
        """What stands in the columns where the source has no row."""
        return {}

    def wish(self, db: Catalog) -> Wish:
        """Look the tables up."""
        db.require_pgopt()
        return Wish(
            db.table(self.table, self.schema),
            db.table(self.source, self.source_schema or self.schema),
            self.on,
            {name: str(text) for name, text in self.columns.items()},
            {name: str(text) for name, text in self.defaults_said.items()},
            self.aggregate,
            self.read_only,
            self.deferred,
        )

    def keep(self, db: Catalog) -> Iterator[AnyStep]:
        """Give the steps that add the columns, keep them from then on, and fill the rows that were there."""
        wish = self.wish(db)
        there = wish.there(db)
        if there is None:
            wish.refuse(db)
        of = there.definition if there else wish.define(db)
        tables = _tables(db, of)
        yield Step(
            f"add {', '.join(of.names)} to {of.target}",
            [_add(of), _write_down(of)],
            locks=[_lock(Mode.ACCESS_EXCLUSIVE, each) for each in _tree(db, of.target)],
            done=lambda db: _row(db, of) is not None,
        )
        yield Step(
            f"keep {', '.join(of.names)} of {of.target} by triggers on {of.source}",
            lambda db: triggers_of(of).create(db.partitions(of.source)),
            locks=[_lock(Mode.SHARE_ROW_EXCLUSIVE, each) for each in tables],
            done=lambda db: _has_view(db, of),
        )
        if there is None or not there.filled:
            yield from _fill(db, of, "fill", verbatim(""))
        yield Step(
            f"write down that {', '.join(of.names)} of {of.target} are filled",
            [sql("update pgopt.denormalized set filled = true where tag = {}", literal(of.tag)), _forget_batches(of)],
            done=lambda db: _row(db, of) is True,
        )
        if of.deferred is not None:
            yield from _job(of, of.deferred).plan(db)

    def take_away(self, db: Catalog) -> Iterator[AnyStep]:
        """Give the step that drops the columns and what keeps them."""
        wish = self.wish(db)
        there = wish.there(db)
        of = there.definition if there else None
        if of is None:
            return
        triggers = triggers_of(of)
        for name in of.names:
            if users := [each for each in _users(db, of.target, name) if of.tag not in each]:
                raise InvalidOperation(f"column {name!r} of {of.target} is used by {', '.join(users)}: drop that first")
        if of.deferred is not None:
            yield from _job(of, of.deferred).reverse().plan(db)
        tables = _tables(db, of)
        yield Step(
            f"forget how far {', '.join(of.names)} of {of.target} were filled",
            _forget_batches(of),
            done=lambda db: (
                not db.session.value(sql("select exists (select from pgopt.progress where {})", _batches(of)))
            ),
        )
        yield Step(
            f"drop {', '.join(of.names)} of {of.target} with what keeps them",
            [
                *triggers.drop(),
                sql(
                    "alter table {} {}",
                    of.target.ident,
                    joined(sql("drop column {}", ident(name)) for name in of.names),
                ),
                sql("delete from pgopt.denormalized where tag = {}", literal(of.tag)),
            ],
            locks=[_lock(Mode.ACCESS_EXCLUSIVE, each) for each in tables],
            done=lambda db: _row(db, of) is None,
        )


@dataclass(frozen=True, repr=False)
class ColumnsOf(Denormalization):
    """Columns that are copied."""

    aggregate: ClassVar[bool] = False

    _: KW_ONLY
    defaults: Mapping[str, Any] | None = None

    @property
    def defaults_said(self) -> Mapping[str, Any]:
        return self.defaults or {}

    def check(self) -> None:
        super().check()
        for name in self.defaults_said:
            if name not in self.columns:
                raise InvalidOperation(f"defaults of {self.table} name {name!r}, which is none of the columns")


@operation("denormalize_columns")
class DenormalizeColumns(ColumnsOf):
    """Copy columns of a parent or a 1:1 companion to a table, and keep them so by triggers.

    Takes ACCESS EXCLUSIVE on the table for an instant to add the columns, then SHARE ROW EXCLUSIVE on both for the triggers, then
    fills the rows that are there in batches; of a partitioned table that is all of its partitions. ``on`` says which column of the table has the value of which one of the source,
    which must be unique there; both need an index. A column is a column of the source, or an expression of its row. Where
    the source has no row, it is NULL or what ``defaults`` says. Needs `install_pgopt`::

        op.denormalize_columns(
            "users", source="profiles", on={"id": "user_id"}, columns={"country": "country"}, defaults={"country": "'XX'"}
        )

    From then on who adds a row to the table locks its row of the source FOR SHARE, so that an update of that waits for the
    transaction, and the other way round. A REPEATABLE READ transaction that changes the source does not see rows that came
    since its snapshot: use READ COMMITTED or SERIALIZABLE. With ``read_only=True`` writing the columns is an error.
    ``deferred="every 20 seconds"``, or a cron expression in UTC, makes the triggers only note what was changed, and a job fold that in.
    """

    def reverse(self) -> DropDenormalizedColumns:
        return other(DropDenormalizedColumns, self)

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        yield from self.keep(db)


@operation("drop_denormalized_columns")
class DropDenormalizedColumns(ColumnsOf):
    """Drop columns that `denormalize_columns` made, with their triggers; ACCESS EXCLUSIVE on both tables for an instant.

    Takes the same arguments, so that it can be undone::

        op.drop_denormalized_columns("users", source="profiles", on={"id": "user_id"}, columns={"country": "country"})
    """

    def reverse(self) -> DenormalizeColumns:
        return other(DenormalizeColumns, self)

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        yield from self.take_away(db)


@dataclass(frozen=True, repr=False)
class AggregateOf(Denormalization):
    """Columns that are counted."""

    aggregate: ClassVar[bool] = True


@operation("denormalize_aggregate")
class DenormalizeAggregate(AggregateOf):
    """Keep counts, sums, extremes and other aggregates of a table's rows in another, by triggers.

    Takes ACCESS EXCLUSIVE on the table for an instant to add the columns, then SHARE ROW EXCLUSIVE on both for the triggers, then
    fills the rows that are there in batches; of a partitioned table that is all of its partitions. ``on`` says which column of the table has the value of which one of the source;
    both need an index. Needs `install_pgopt`::

        op.denormalize_aggregate(
            "tickets", source="comments", on={"id": "ticket_id"},
            columns={"comment_count": "count(*)", "last_comment_at": "max(created_at)"},
        )

    Where all columns are counts, sums of whole numbers or numerics, or extremes, with or without FILTER, a statement adds what it has
    changed, and reads the source only for the next of extremes; with any other aggregate it reads the rows of the keys that it has changed.
    Two transactions that change the source for one row of the table come one after the other, as they would with a
    counter of one's own; under REPEATABLE READ the second gets a serialization error. Where no foreign key of the source
    refers to the table, rows of a key in both are kept apart by an advisory lock until the end of the transaction.
    With ``read_only=True`` writing the columns is an error.

    ``deferred="every 20 seconds"``, or a cron expression in UTC, makes the triggers only note which keys were changed, and a job fold
    that in, so that nobody waits for anybody; `pgopt.deferred_columns` shows how far it is behind.
    """

    def reverse(self) -> DropDenormalizedAggregate:
        return other(DropDenormalizedAggregate, self)

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        yield from self.keep(db)


@operation("drop_denormalized_aggregate")
class DropDenormalizedAggregate(AggregateOf):
    """Drop columns that `denormalize_aggregate` made, with their triggers; ACCESS EXCLUSIVE on both tables for an instant.

    Takes the same arguments, so that it can be undone::

        op.drop_denormalized_aggregate(
            "tickets", source="comments", on={"id": "ticket_id"}, columns={"comment_count": "count(*)"}
        )
    """

    def reverse(self) -> DenormalizeAggregate:
        return other(DenormalizeAggregate, self)

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        yield from self.take_away(db)


@operation("verify_denormalized")
class VerifyDenormalized(Action):
    """Compare columns that triggers keep with what they should be, and fail where rows have drifted, with some of them.

    Reads both tables under ACCESS SHARE, as of one moment. With ``repair=True`` the rows that have drifted are set right in batches
    instead, as by `backfill`. Triggers that were disabled, or passed by under session_replication_role, are why rows drift.
    Without ``columns``, all that is kept in the table is looked at. Needs `install_pgopt`::

        op.verify_denormalized("tickets", repair=True)
    """

    table: str
    _: KW_ONLY
    columns: Sequence[str] = ()
    repair: bool = False
    schema: str | None = None

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        db.require_pgopt()
        table = db.table(self.table, self.schema)
        for of in self._definitions(db, table):
            if self.repair:
                yield from _watch(db, of)
                yield from _fill(db, of, "repair", sql(" and {}", of.drifted()))
            yield Step(
                f"compare {', '.join(of.names)} of {table} with {of.source}",
                partial(_compare, of),
                locks=[_lock(Mode.ACCESS_SHARE, each) for each in _tables(db, of)],
            )

    def _definitions(self, db: Catalog, table: Relation) -> list[Definition]:
        found = [each.definition for each in known(db, table)]
        for name in self.columns:
            if not any(name in of.names for of in found):
                raise InvalidOperation(f"column {name!r} of {table} is not kept by pgopt")
        wanted = [of for of in found if not self.columns or set(of.names).intersection(self.columns)]
        if not wanted:
            raise InvalidOperation(
                f"no columns of {table} are kept by pgopt: op.denormalize_columns and op.denormalize_aggregate make them"
            )
        return wanted


def _watch(db: Catalog, of: Definition) -> Iterator[Step]:
    """Put the triggers on partitions that others have made."""
    for part in unwatched(db, of):
        yield Step(
            f"note what is written to {part} itself",
            list(triggers_of(of).watch(part)),
            locks=[_lock(Mode.SHARE_ROW_EXCLUSIVE, part)],
        )


def _compare(of: Definition, db: Catalog) -> Iterator[Composable]:
    drift = look(db, of)
    if drift.wrong:
        raise StatementFailed(f"{drift.sentence}: say repair=True")
    yield from ()


# -- the job of what is deferred -------------------------------------------------------------------------------------------


def folding(tag: str, when: str, table: str, names: Sequence[str]) -> ScheduleJob:
    """Give the job that folds changes in."""
    every = when.removeprefix(EVERY) if when.startswith(EVERY) else None
    command = sql("call pgopt.fold(denormal => {})", literal(tag))
    return ScheduleJob(
        f"fold {', '.join(names)} of {table}", render(command), cron=None if every else when, every=every
    )


def _job(of: Definition, when: str) -> ScheduleJob:
    return folding(of.tag, when, str(of.target), of.names)


# -- steps ---------------------------------------------------------------------------------------------------------------


def _tables(db: Catalog, of: Definition) -> list[Relation]:
    """Give both tables with their partitions, in the order in which they are locked."""
    return list(dict.fromkeys([*_tree(db, of.source), *_tree(db, of.target)]))


def _tree(db: Catalog, table: Relation) -> list[Relation]:
    return [table, *db.partitions(table)]


def _users(db: Catalog, table: Relation, name: str) -> list[str]:
    """Name what would go with a column, also of partitions alone."""
    return list(dict.fromkeys(user for each in _tree(db, table) for user in db.column_users(each, name, "")))


def _add(of: Definition) -> Composable:
    columns = (
        sql(
            "add column {} {}{}",
            ident(column.name),
            verbatim(column.type),
            verbatim("") if column.default is None else sql(" default {}", verbatim(column.default)),
        )
        for column in of.columns
    )
    return sql("alter table {} {}", of.target.ident, joined(columns))


def _write_down(of: Definition) -> Composable:
    return sql(
        "insert into pgopt.denormalized (tag, target, source, columns, said) values ({}, {}::oid, {}::oid, {}::text[], {}::jsonb)",
        *map(literal, (of.tag, of.target.oid, of.source.oid, of.names, json.dumps(of.said))),
    )


def _fill(db: Catalog, of: Definition, verb: str, only: Composable) -> Iterator[BatchStep]:
    """Give the steps that set all rows: one for each table that holds them, in which they are found by its own index."""
    tree = _tree(db, of.target)
    for table in (each for each in tree if each.kind == "r"):
        # what a partition may hold is looked up in those above it
        read = dict.fromkeys([*_tree(db, of.source), *above(table, tree)])
        yield BatchStep(
            _label(of, verb) + (f", in {table}" if table != of.target else ""),
            table,
            of.order,
            partial(_refill, of, table, only),
            locks=[
                _lock(Mode.ROW_EXCLUSIVE, table),
                *(_lock(Mode.ACCESS_SHARE, each) for each in read if each != table),
            ],
        )


def _refill(of: Definition, table: Relation, only: Composable, rows: Composable) -> Composable:
    return of.refill(table, sql("{}{}", rows, only))


def _label(of: Definition, verb: str = "fill") -> str:
    return f"{verb} {', '.join(of.names)} of {of.target} from {of.source}"


def _forget_batches(of: Definition) -> Composable:
    """Forget how far batches came, or they would go on there when columns of these names are filled again."""
    return sql("delete from pgopt.progress where {}", _batches(of))


def _batches(of: Definition) -> Composable:
    label = _label(of)
    ways = joined(literal(f"{label}{ends}") for ends in (" (", ", "))
    return sql("left(task, {}) in ({})", literal(len(label) + 2), ways)


def _lock(mode: Mode, table: Relation) -> Lock:
    return Lock(mode, table.name, table.schema)


def _row(db: Catalog, of: Definition) -> bool | None:
    """Whether the rows are filled, or nothing where nothing is kept."""
    found: bool | None = db.session.value(sql("select filled from pgopt.denormalized where tag = {}", literal(of.tag)))
    return found


def _has_view(db: Catalog, of: Definition) -> bool:
    return db.relation(f"denormal_{of.tag}", "pgopt") is not None
