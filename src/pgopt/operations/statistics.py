"""What the planner knows of live tables: extended statistics, statistics targets, ANALYZE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations.base import Action, StateOperation, operation
from pgopt.operations.constraint_steps import on_all
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import check_name, column, dollars, ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation, Statistics
    from pgopt.server.undo import KeptTree

MOST = 10_000


@dataclass(frozen=True, repr=False)
class StatisticsOperation(StateOperation):
    """Extended statistics by their name, table and definition."""

    name: str
    table: str
    columns: Sequence[Any] = ()
    _: KW_ONLY
    kinds: Sequence[Literal["ndistinct", "dependencies", "mcv"]] = ()
    schema: str | None = None

    def check(self) -> None:
        """Refuse what no database would take."""
        check_name(self.name, f"statistics of {self.table}")
        for what in ("columns", "kinds"):
            if isinstance(getattr(self, what), str):
                raise InvalidOperation(f"{what}={getattr(self, what)!r} is one text: write a list")
        if unknown := sorted(set(self.kinds) - {"ndistinct", "dependencies", "mcv"}):
            raise InvalidOperation(
                f"statistics {self.name} have no kind {unknown[0]!r}: choose from ndistinct, dependencies, mcv"
            )

    def statement(self, name: Composable, table: Composable) -> Composable:
        """Write CREATE STATISTICS under a name and for a table of the caller's choice."""
        kinds = sql(" ({})", joined(map(ident, self.kinds))) if self.kinds else verbatim("")
        return sql("create statistics {}{} on {} from {}", name, kinds, joined(map(column, self.columns)), table)

    def same_or_refuse(self, db: Catalog, table: Relation) -> Statistics | None:
        """Take equal statistics for the operation's own, and refuse others of that name."""
        there = db.statistics(table.schema, self.name)
        if there is None:
            return None
        if there.table != table.oid:
            raise InvalidOperation(f"statistics {self.name} are of {db.by_oid(there.table)}, not of {table}")
        if self.columns and there.shape != db.shape_of_statistics(table, self.statement):
            wanted = render(self.statement(ident(table.schema, self.name), table.ident))
            raise InvalidOperation(
                f"there are statistics {self.name} of {table} already, and they are others:\n  there is  {there.definition}\n"
                f"  wanted is {wanted}"
            )
        return there


@operation("create_statistics")
class CreateStatistics(StatisticsOperation):
    """Make extended statistics on columns that depend on each other, or on expressions, and fill them by ANALYZE.

    Takes SHARE UPDATE EXCLUSIVE on the table for as long as ANALYZE samples it, which nobody but other DDL and vacuum
    waits for. On a partitioned table they are those of the whole. Equal statistics of that name count as done; others are an error.
    Columns are names or expressions, as for `create_index_concurrently`; without ``kinds`` all are made::

        op.create_statistics("st_tickets_place", "tickets", ["city", "country"], kinds=["dependencies", "mcv"])
    """

    columns: Sequence[Any] = field()

    def check(self) -> None:
        super().check()
        if not self.columns:
            raise InvalidOperation(f"statistics {self.name} of {self.table} have no columns")

    def reverse(self) -> DropStatistics:
        return DropStatistics(**_definition(self))

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if db.online:
            self.same_or_refuse(db, table)
        analyze = _analyze(db, table)
        yield Step(
            f"make statistics {self.name} of {table}",
            [self.statement(ident(table.schema, self.name), table.ident), *analyze.statements],
            locks=analyze.locks,
            done=lambda db: db.statistics(table.schema, self.name) is not None,
        )


@operation("drop_statistics")
class DropStatistics(StatisticsOperation):
    """Drop extended statistics; SHARE UPDATE EXCLUSIVE on the table for an instant. With their definition it can be undone::

    op.drop_statistics("st_tickets_place", "tickets", ["city", "country"], kinds=["dependencies", "mcv"])
    """

    def reverse(self) -> CreateStatistics:
        if not self.columns:
            raise NotReversible(f"{self.title}: say the columns (and kinds=), so that they can be made again")
        return CreateStatistics(**_definition(self))

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if db.online:
            self._check(db, table)
        yield Step(
            f"drop statistics {self.name} of {table}",
            sql("drop statistics {}", ident(table.schema, self.name)),
            locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema)],
            done=lambda db: db.statistics(table.schema, self.name) is None,
        )

    def _check(self, db: Catalog, table: Relation) -> None:
        """Refuse to lose what would not come back."""
        there = self.same_or_refuse(db, table)
        if there is None or not self.columns:
            return
        for what, value in (("comment", there.comment), ("statistics target", there.target)):
            if value is not None:
                raise InvalidOperation(
                    f"statistics {self.name} of {table} have a {what}, {value!r}, which would not come back: take it off first"
                )
        if there.others is not None:
            raise InvalidOperation(
                f"statistics {self.name} of {table} belong to {there.others}, and would come back as yours: run this as that role,"
                " or leave the columns out to drop them for good"
            )


def _definition(of: StatisticsOperation) -> dict[str, Any]:
    return {each.name: getattr(of, each.name) for each in fields(StatisticsOperation)}


# -- targets -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class TargetOperation(StateOperation):
    """The statistics target of one column."""

    table: str
    column: str
    target: int | None
    _: KW_ONLY
    schema: str | None = None

    @property
    def title(self) -> str:
        """The operation in a few words, for people."""
        return f"{self.directive} {self.column} of {self.table}"

    def check(self) -> None:
        """Refuse what PostgreSQL would cut silently."""
        if self.target is not None and not 0 <= self.target <= MOST:
            raise InvalidOperation(f"{self.title} says {self.target}: it is 0 to {MOST}, or None for the default")

    def kept(self, db: Catalog) -> KeptTree:
        """Give the places where it is written down what the targets were."""
        return db.memory.of_tree("set_column_statistics", db.table(self.table, self.schema), [self.column])

    def targets(self, table: Relation) -> Composable:
        """Ask for the targets of the column in a table and all below it, as text."""
        return query("targets", relation=literal(render(table.ident)), column=literal(self.column))

    def tree(self, db: Catalog) -> list[Relation]:
        """Look up the table and all below it."""
        table = db.table(self.table, self.schema)
        db.require_pgopt()
        if db.online and self.column not in (there := [each.name for each in db.columns(table)]):
            raise InvalidOperation(f"{table} has no column {self.column!r}: it has {', '.join(there)}")
        return [table, *db.descendants(table)]


@operation("set_column_statistics")
class SetColumnStatistics(TargetOperation):
    """Set how many values of a column ANALYZE keeps; ``None`` puts it back to the default. The next ANALYZE heeds it.

    Takes SHARE UPDATE EXCLUSIVE for an instant on the table, its partitions and inheritance children. What each of them had
    is written down and given back by `reset_column_statistics`. Needs `install_pgopt`::

        op.set_column_statistics("tickets", "organization_id", 1000)
        op.analyze("tickets", ["organization_id"])
    """

    def reverse(self) -> ResetColumnStatistics:
        return ResetColumnStatistics(self.table, self.column, self.target, schema=self.schema)

    def plan(self, db: Catalog) -> Iterator[Step]:
        tree, kept = self.tree(db), self.kept(db)
        targets = self.targets(tree[0])
        was = sql("select t.*, null::jsonb from ({}) t", targets)
        yield Step(
            f"set the statistics target of {self.column} of {tree[0]}",
            # on the way down there is nobody who would take it back
            [kept.forget() if db.memory.down else kept.keep(was), self._alter(tree[0])],
            locks=on_all(Mode.SHARE_UPDATE_EXCLUSIVE, tree),
            done=lambda db: self._is_set(db, targets) and db.remembers_as_wanted(kept),
        )

    def _alter(self, table: Relation) -> Composable:
        target = literal(-1 if self.target is None else self.target)
        return sql("alter table {} alter column {} set statistics {}", table.ident, ident(self.column), target)

    def _is_set(self, db: Catalog, targets: Composable) -> bool:
        wanted = None if self.target is None else str(self.target)
        return all(target == wanted for *_, target in db.session.rows(targets))


@operation("reset_column_statistics")
class ResetColumnStatistics(TargetOperation):
    """Give back the statistics targets that `set_column_statistics` has found, to each partition its own.

    Takes SHARE UPDATE EXCLUSIVE for an instant. Where none was set in this revision there is nothing to give back. Needs
    `install_pgopt`::

        op.reset_column_statistics("tickets", "organization_id", 1000)
    """

    def reverse(self) -> SetColumnStatistics:
        return SetColumnStatistics(self.table, self.column, self.target, schema=self.schema)

    def notes(self, db: Catalog) -> Sequence[str]:
        if not db.online or db.remembered(self.kept(db)):
            return ()
        said = f"nothing is written down of the statistics target of {self.column} of {self.table}, so nothing is given back"
        return (f"{said}: for the default, use set_column_statistics with None",)

    def plan(self, db: Catalog) -> Iterator[Step]:
        tree, kept = self.tree(db), self.kept(db)
        values: dict[str, Any] = {
            "where": kept.where,
            "tree": kept.tree,
            "targets": self.targets(tree[0]),
            "column": literal(self.column),
        }
        yield Step(
            f"give the statistics target of {self.column} of {tree[0]} back",
            dollars(lambda tag: query("targets_restore", tag=tag, **values)),
            locks=on_all(Mode.SHARE_UPDATE_EXCLUSIVE, tree),
            done=lambda db: not db.remembered(kept),
        )


# -- ANALYZE -------------------------------------------------------------------------------------------------------------


@operation("analyze")
class Analyze(Action):
    """Let the planner know what is in a table, its partitions and its inheritance children, or in some columns.

    Takes SHARE UPDATE EXCLUSIVE, which nobody but other DDL and vacuum waits for: on 18 on one table after the other; before
    it ANALYZE of a partitioned table holds it on all partitions to the end. Autovacuum never analyzes a partitioned table
    as a whole::

        op.analyze("tickets")
        op.analyze("tickets", ["organization_id", "status"])
    """

    table: str
    columns: Sequence[str] | None = None
    _: KW_ONLY
    schema: str | None = None

    def check(self) -> None:
        if isinstance(self.columns, str):
            raise InvalidOperation(f"columns={self.columns!r} is one text: write a list")

    def plan(self, db: Catalog) -> Iterator[Step]:
        root = db.table(self.table, self.schema)
        below = [] if db.version < ONLY and root.kind == "p" else db.descendants(root)
        for table in [*below, root]:
            yield _analyze(db, table, self.columns)


ONLY = 180000
"""From this version on ANALYZE looks at one table alone where it is told to."""


def _analyze(db: Catalog, table: Relation, columns: Sequence[str] | None = None) -> Step:
    below = db.descendants(table)
    if db.version < ONLY and table.kind == "p":
        locks = on_all(Mode.SHARE_UPDATE_EXCLUSIVE, below)
    else:
        # the rows of all are sampled
        locks = [Lock(Mode.ACCESS_SHARE, each.name, each.schema) for each in below if each.kind == "r"]
    only = verbatim("only " if below and db.version >= ONLY else "")
    said = sql(" ({})", joined(map(ident, columns))) if columns else verbatim("")
    return Step(
        f"analyze {table}",
        sql("analyze {}{}{}", only, table.ident, said),
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema), *locks],
    )
