"""Columns that a job keeps: the triggers note which keys were changed, and the job folds that in.

Whoever changes either table notes its keys in a queue, in the same transaction: an INSERT, which nobody waits for. Folding takes keys out
and sets their rows by what the source says, in one transaction that reads later than it takes: what it has not seen has a note that it has not
taken, and is for the next time. The rows are locked before the source is read, so that of two who fold one key the second reads what the
first has; rows that somebody else holds are left in the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.copy.shape import without_defaults
from pgopt.denormal.definition import equal, unnested
from pgopt.denormal.moving import tried_again
from pgopt.denormal.triggers import PACKAGE, SAFE, Triggers
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.denormal.definition import Definition
    from pgopt.denormal.merging import Change
    from pgopt.server.objects import Relation


def triggers_of(of: Definition) -> Triggers:
    """Give what keeps a definition."""
    return Triggers(of) if of.deferred is None else DeferredTriggers(of)


@dataclass(frozen=True)
class DeferredTriggers(Triggers):
    """What keeps a definition whose changes are folded in by a job."""

    def create(self, parts: Sequence[Relation] = ()) -> Iterator[Composable]:
        """Make the queue, functions, triggers and the view; SHARE ROW EXCLUSIVE on both tables, and on all partitions."""
        keys = zip(self.of.target_keys("t"), self.of.on, self._numbered, strict=True)
        columns = joined(sql("{}::{} as {}", value, verbatim(key.type), name) for value, key, name in keys)
        yield sql("create table {} as select {} from {} t with no data", self.of.queue, columns, self.of.target.ident)
        yield without_defaults(self.of.queue)
        yield sql(
            "alter table {} add column n bigint generated always as identity primary key,"
            " add column at timestamptz not null default clock_timestamp()",
            self.of.queue,
        )
        yield sql("create index on {} (n) where k1 is null", self.of.queue)
        yield from super().create(parts)
        yield from self._begin()
        yield from self._fold()

    def drop(self) -> Iterator[Composable]:
        """Drop all of it; ACCESS EXCLUSIVE on both tables."""
        yield from super().drop()
        for what in ("begin", "fold"):
            yield sql("drop function if exists {}", self.of.function(what))
        yield sql("drop table if exists {}", self.of.queue)

    def _reading(self) -> Iterator[Composable]:
        yield from self._value()

    # -- what is noted -----------------------------------------------------------------------------------------------------

    def _then(self, event: str, change: Change, keys: Sequence[Composable]) -> Composable:  # noqa: ARG002
        return self._note(sql("select k.* from {} k", unnested(keys)))

    def _hold_source(self, event: str, keys: Sequence[Composable]) -> Composable:  # noqa: ARG002
        return verbatim("")

    def _truncated(self) -> Composable:
        return sql("begin {} insert into {} (k1) values (null); return null; end", self._mine, self.of.queue)

    def _rows_of_target(self) -> Iterator[Composable]:
        new = self.of.target_keys("new")
        nothing = ((ident("new", column.name), self._nothing(column)) for column in self.of.columns)
        clear = joined((sql("{} := {};", *each) for each in nothing), " ")
        kept = self.moves.unless_it_comes(clear)
        yield from self._on_target("set", "before insert on {}", None, sql("begin {} return new; end", kept))
        # of no key there are no notes
        unknown = sql("({}) and not ({})", self._has_moved(), _known(new))
        yield self._trigger("left", "before update on {}", unknown, "set")
        note = self._note(sql("select {} where {}", joined(new), _known(new)))
        body = sql("begin {} return null; end", note)
        yield from self._on_target("moved", "after update on {}", self._has_moved(), body)
        yield self._trigger("came", "after insert on {}", None, "moved")

    def _note(self, keys: Composable) -> Composable:
        return sql("insert into {} ({}) {};", self.of.queue, joined(self._numbered), keys)

    # -- what is folded in ---------------------------------------------------------------------------------------------------

    def _begin(self) -> Iterator[Composable]:
        """Note the rows that are about a TRUNCATE one by one, and tell up to which note there is something to do."""
        keys = self.of.target_keys("t")
        body = query(
            "fold_begin",
            PACKAGE,
            queue=self.of.queue,
            names=joined(self._numbered),
            keys=joined(keys),
            known=_known(keys),
            target=self.of.target.ident,
            some=self._has_some("t"),
        )
        yield from self._make("begin", sql("() returns bigint"), body, SAFE)

    def _fold(self) -> Iterator[Composable]:
        """Take some notes out of the queue, and set the rows that they are about."""
        taken, busy = (
            [ident(f"pgopt_{what}{number}") for number, _ in enumerate(self.of.on, 1)] for what in ("k", "b")
        )
        types = [verbatim(f"{key.type}[]") for key in self.of.on]
        variables = joined((sql("{} {}", *each) for each in zip([*taken, *busy], types * 2, strict=True)), "; ")
        body = query(
            "fold",
            PACKAGE,
            queue=self.of.queue,
            names=joined(self._numbered),
            gathered=joined(sql("pg_catalog.array_agg(d.{})", name) for name in self._numbered),
            free=joined(sql("pg_catalog.array_agg(d.{}) filter (where d.free)", name) for name in self._numbered),
            held=joined(sql("pg_catalog.array_agg(d.{}) filter (where not d.free)", name) for name in self._numbered),
            taken=joined(taken),
            busy=joined(busy),
            first_busy=busy[0],
            first_taken=taken[0],
            rows=unnested(taken),
            busy_rows=unnested(busy),
            target=self.of.target.ident,
            match=equal(self.of.target_keys("t"), [sql("k.{}", name) for name in self._numbered]),
            columns=joined(map(ident, self.of.names)),
            value=self.of.function("value"),
            of_row=joined(self.of.target_keys("t")),
        )
        body = query("fold_again", PACKAGE, variables=variables, again=tried_again(self.of, body))
        signature = sql("(bigint, bigint, integer) returns bigint")
        yield from self._make("fold", signature, body, self._settings)

    def _drifted(self) -> Composable:
        """Give the condition that a row is not as it should be, though nothing waits that is about it."""
        match = equal([sql("q.{}", name) for name in self._numbered], self.of.target_keys("t"))
        return sql(
            "not ({}) and not exists (select from {} q where {}) and not exists (select from {} q where q.k1 is null)",
            self.of.as_it_should_be("t", "v"),
            self.of.queue,
            match,
            self.of.queue,
        )


def _known(keys: Sequence[Composable]) -> Composable:
    return joined((sql("{} is not null", key) for key in keys), " and ")
