"""The partitions that a table is to have: their bounds and names, and how they are made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgopt.copy.by import Hash, ListOf, Partitioning, list_of, range_of, remainder_of
from pgopt.copy.changes import Changes
from pgopt.copy.memory import storage_of
from pgopt.copy.shape import (
    PACKAGE,
    PARTED,
    PLAIN,
    beside,
    like,
    without_defaults,
)
from pgopt.errors import InvalidOperation
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import Relation
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog

MOST = 1000
"""More partitions than that slow every plan of a query down, and are a mistake more often than a wish."""


@dataclass(frozen=True)
class Layout:
    """The partitions that a table is to have, while they are not in use yet."""

    table: Relation
    by: Partitioning
    said: dict[str, Any]
    premake: int
    start: str | None
    default: bool
    _names: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What the server has called its partitions: that is asked under the lock of a swap, too."""

    @property
    def parent(self) -> str:
        """The name of the partitioned table that is not in use yet."""
        return beside(self.table.name, PARTED)

    def make(self) -> Step:
        """Make the partitioned table with partitions for all rows that are there, and some ahead."""
        return Step(
            f"make the partitions of {self.table}",
            self._make,
            locks=[Lock(Mode.ACCESS_SHARE, self.table.name, self.table.schema)],
            done=lambda db: db.relation(self.parent, self.table.schema) is not None,
        )

    def _make(self, db: Catalog) -> Iterator[Composable]:
        self._refuse_unlisted(db, self.table)
        bounds = list(self._bounds(db, *self.ends(db, self.table)))
        yield from like(self.table, self.parent, sql("partition by {}", self.by.clause()))
        yield from self.owned_by(db, ident(self.table.schema, self.parent))
        if not isinstance(self.by, Hash):
            # while rows are copied, none may be refused
            yield from self.add_default(db)
        for name, bound in bounds:
            yield from self.add(db, name, bound)

    def make_room(self) -> Step:
        """Make partitions for rows that came meanwhile and have none yet."""
        # a list has room for what is in it, and no more can be made
        done = (lambda _: True) if isinstance(self.by, ListOf) else self._has_room
        return Step(f"make room for new rows of {self.table}", self._make_room, done=done)

    def close(self, db: Catalog) -> Iterator[Composable]:
        """Take the default away again, unless it is wanted."""
        if self.default or isinstance(self.by, Hash):
            return
        if not self._has_room(db):
            self._refuse_unlisted(db, db.table(self.name(db, "default"), self.table.schema))
            yield from self._make_room(db)
        yield sql("drop table {}", self._default(db))

    def _default(self, db: Catalog) -> Composable:
        return ident(self.table.schema, self.name(db, "default"))

    def _refuse_unlisted(self, db: Catalog, table: Relation) -> None:
        """Refuse rows that are in none of the lists."""
        if not isinstance(self.by, ListOf) or self.default:
            return
        column = ident(self.by.column)
        listed = joined(literal(value) for values in self.by.values.values() for value in values)
        found = db.session.rows(
            sql("select distinct {} from {} where {} not in ({}) limit 5", column, table.ident, column, listed)
        )
        if found:
            raise InvalidOperation(
                f"rows of {self.table} have a {self.by.column} that is in no list ({', '.join(str(row[0]) for row in found)}): add it"
                " to one, or say default=True"
            )

    def _has_room(self, db: Catalog) -> bool:
        if self.default or isinstance(self.by, Hash):
            return True
        if db.relation(self.name(db, "default"), self.table.schema) is None:
            return True
        return not db.session.value(sql("select exists (select from {})", self._default(db)))

    def _make_room(self, db: Catalog) -> Iterator[Composable]:
        default, parent = self._default(db), ident(self.table.schema, self.parent)
        there = db.table(self.name(db, "default"), self.table.schema)
        known = {each.name for each in db.descendants(db.table(self.parent, self.table.schema))}
        bounds = [each for each in self._bounds(db, *self.ends(db, there)) if each[0] not in known]
        columns = joined(ident(each.name) for each in db.columns(there) if not each.generated)
        yield sql("alter table {} detach partition {}", parent, default)
        for name, bound in bounds:
            yield from self.add(db, name, bound)
        yield sql("insert into {} ({}) overriding system value select {} from {}", parent, columns, columns, default)
        yield sql("truncate {}", default)
        yield sql("alter table {} attach partition {} default", parent, default)

    def add_default(self, db: Catalog) -> Iterator[Composable]:
        """Make the partition of what no other one holds."""
        yield from self.add(db, self.name(db, "default"), verbatim("default"))

    def after(self, db: Catalog, bound: str | None) -> Iterator[tuple[str, Composable]]:
        """Give the partitions that follow a first one, by name and bounds."""
        if isinstance(self.by, ListOf):
            yield from list(self._bounds(db, None, None))[1:]
            return
        rows = db.session.rows(
            sql(
                "select * from pgopt.periods({by}, {bound}, pgopt.later({by}, {bound}, {ahead}))",
                by=literal(json.dumps(self.said)),
                bound=literal(bound),
                ahead=literal(max(self.premake, 1) - 1),
            )
        )
        for suffix, lower, upper in rows:
            yield self.name(db, suffix), range_of(lower, upper)

    def first(
        self, db: Catalog, least: str | None = None, greatest: str | None = None
    ) -> Iterator[tuple[str, Composable]]:
        """Give the partitions of a table that has no rows yet, for keys that will come, by name and bounds."""
        yield from self._bounds(db, least, greatest)
        if self.default:
            yield self.name(db, "default"), verbatim("default")

    def ends(self, db: Catalog, table: Relation) -> tuple[str | None, str | None]:
        """Give the least and the greatest key that are there."""
        if isinstance(self.by, Hash | ListOf):
            return None, None
        column = ident(self.by.column)
        # t.: or the text that it gives would be what is in order
        first, last = (
            db.session.value(
                sql("select t.{}::text from {} t order by t.{} {} limit 1", column, table.ident, column, verbatim(way))
            )
            for way in ("asc", "desc")
        )
        if "infinity" in (first or "", last or "") or "-infinity" in (first or "", last or ""):
            raise InvalidOperation(
                f"{table} has rows with an infinite {self.by.column}, which no partition holds: change or delete them"
            )
        return first, last

    def _bounds(self, db: Catalog, first: str | None, last: str | None) -> Iterator[tuple[str, Composable]]:
        if isinstance(self.by, ListOf):
            for name, values in self.by.values.items():
                yield self.name(db, name), list_of(values)
        elif isinstance(self.by, Hash):
            for number in range(self.by.partitions):
                yield self.name(db, f"h{number}"), remainder_of(self.by.partitions, number)
        else:
            yield from self._ranges(db, first, last)

    def _ranges(self, db: Catalog, first: str | None, last: str | None) -> Iterator[tuple[str, Composable]]:
        rows = db.session.rows(
            query(
                "ranges",
                PACKAGE,
                by=literal(json.dumps(self.said)),
                first=literal(first),
                last=literal(last),
                start=literal(self.start),
                premake=literal(self.premake),
                most=literal(MOST),
            )
        )
        if len(rows) > MOST:
            raise InvalidOperation(
                f"{self.table} has rows from {first} to {last or 'now'}, which is more than {MOST} partitions: say start=, before which all"
                " rows share one, or a longer period"
            )
        for suffix, lower, upper in rows:
            yield self.name(db, suffix), range_of(lower, upper)

    def name(self, db: Catalog, suffix: str) -> str:
        """Name a partition."""
        if suffix not in self._names:
            named = sql("select pgopt.partition_name({}, {})", literal(self.table.name), literal(suffix))
            self._names[suffix] = str(db.session.value(named))
        return self._names[suffix]

    def add(self, db: Catalog, name: str, bound: Composable) -> Iterator[Composable]:
        """Make a partition, with the owner and the storage parameters of the table."""
        storage = storage_of(db, self.table)
        table = ident(self.table.schema, name)
        yield sql(
            "create table {} partition of {} {}{}",
            table,
            ident(self.table.schema, self.parent),
            bound,
            verbatim(f" with ({', '.join(storage)})" if storage else ""),
        )
        # who may do what is asked of the whole, which has its policies
        yield without_defaults(table)
        yield from self.owned_by(db, table)
        back = Changes(self.table.schema, self.table.name, PLAIN)
        if back.exists(db):
            yield from back.watch(Relation(0, self.table.schema, name, "r"))

    def owned_by(self, db: Catalog, table: Composable) -> Iterator[Composable]:
        """Give a table to the owner of the one that it is made for."""
        owner = db.session.value(
            sql("select pg_get_userbyid(relowner) from pg_class where oid = {}", literal(self.table.oid))
        )
        yield sql("alter table {} owner to {}", table, ident(owner))
