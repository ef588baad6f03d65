"""The functions and triggers that keep columns.

A change of the source locks the rows of the target that it is about, in the order of their key, and writes each of them, even where
the value stays: so two transactions that change the source for one row come one after the other, and the second reads what
the first has done, or gets a serialization error where its snapshot is older. A single row is locked by the UPDATE that writes it: what is read
for it is evaluated again after a wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pgopt.denormal.definition import MOMENT, RECOUNTED, Definition, equal, unnested
from pgopt.denormal.merging import Change, merged
from pgopt.denormal.moving import Moves, tried_again
from pgopt.server.merges import have_updates_told
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.denormal.definition import Kept
    from pgopt.server.objects import Relation

PACKAGE = __package__
ON_SOURCE = {
    "insert": "insert on {} referencing new table as new_rows",
    "update": "update on {} referencing old table as old_rows new table as new_rows",
    "delete": "delete on {} referencing old table as old_rows",
    "truncate": "truncate on {}",
}
ON_TARGET = ("left", "set", "came", "moved", "guard", "leaves", "goes")
BARE = ("guard", "leaves", "goes")
"""Functions of triggers that read nothing."""
SAFE = " set search_path = pg_catalog, pg_temp set row_security = off set plan_cache_mode = force_generic_plan"
"""Of functions that only read. Those that write to the target leave the search path to its triggers, and name all in full."""

ALONE = "perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);"
BACK = "perform pg_catalog.set_config('search_path', pgopt_path, true);"
"""Triggers of the target find what they look for where they always do."""


@dataclass(frozen=True)
class Triggers:
    """What keeps a definition."""

    of: Definition

    def create(self, parts: Sequence[Relation] = ()) -> Iterator[Composable]:
        """Make functions, triggers and the view; SHARE ROW EXCLUSIVE on both tables, and on all partitions."""
        yield from self._reading()
        for event, when in ON_SOURCE.items():
            yield from self._function(event, "returns trigger", self._body(event))
            # a statement fires those of the table that it names, and no others
            for table in (self.of.source, *parts):
                yield self._on_source(event, when, table)
        if self.of.source.partitioned:
            yield from self._told()
        yield from self._rows_of_target()
        if self.moves.happen:
            yield from self._on_target("leaves", "before update on {}", self.moves.has_another_place, self.moves.leaves)
            yield from self._on_target("goes", "before delete on {}", self.moves.one_leaves, self.moves.goes)
        if self.of.read_only:
            yield from self._on_target("guard", "before update on {}", self._is_written(), self._guard())
        yield sql(
            "create view {} as select {}, {} as drifted from {} t cross join lateral ({}) v",
            self.of.view,
            self._shown(),
            self._drifted(),
            self.of.target.ident,
            self.of.value(self.of.target_keys("t")),
        )

    def drop(self) -> Iterator[Composable]:
        """Drop all of it; ACCESS EXCLUSIVE on both tables."""
        yield sql("drop view if exists {}", self.of.view)
        for event in (*ON_SOURCE, "told"):
            # with its triggers, also those on what was a partition
            yield sql("drop function if exists {}() cascade", self.of.function(event))
        for what in ON_TARGET:
            yield sql("drop trigger if exists {} on {}", self.of.trigger(what), self.of.target.ident)
            yield sql("drop function if exists {}()", self.of.function(what))
        for what in ("recount", "values", "value", *(f"value{number}" for number, _ in enumerate(self.of.columns, 1))):
            yield sql("drop function if exists {}", self.of.function(what))

    def watch(self, part: Relation) -> Iterator[Composable]:
        """Put the triggers on a partition of the source; SHARE ROW EXCLUSIVE."""
        for event, when in ON_SOURCE.items():
            yield self._on_source(event, when, part)

    def _on_source(self, event: str, when: str, table: Relation) -> Composable:
        return sql(
            "create trigger {} after {} for each statement execute function {}()",
            self.of.trigger(event),
            sql(when, table.ident),
            self.of.function(event),
        )

    def _told(self) -> Iterator[Composable]:
        """Have PostgreSQL tell which rows MERGE has updated in partitions."""
        yield from self._function("told", "returns trigger", verbatim("begin return new; end"))
        yield have_updates_told(self.of.source, self.of.trigger("told"), self.of.function("told"))

    # -- functions that are not of triggers -------------------------------------------------------------------------------

    def _reading(self) -> Iterator[Composable]:
        """Make what sets rows by what the source says."""
        yield from self._value()
        yield from self._values()
        yield from self._recount()

    def _value(self) -> Iterator[Composable]:
        """Give the values of a key as they are when it is called, however old the snapshot of the caller's statement is."""
        names = [ident(f"c{number}") for number, _ in enumerate(self.of.columns, 1)]
        outs = [sql("out {} {}", name, verbatim(each.type)) for name, each in zip(names, self.of.columns, strict=True)]
        body = sql("select v.* into {} from ({}) v", joined(names), self.of.value(self._arguments))
        signature = sql("({})", joined([*self._parameters, *outs]))
        yield from self._make("value", signature, query("value", PACKAGE, value=body), SAFE)
        for number, column in enumerate(self.of.columns, 1) if self.of.incremental else ():
            # one value alone may come from an index
            one = sql("select ({}) from {}", verbatim(column.expression), self.of.rows_of(self._arguments))
            signature = sql("({}, out {} {})", joined(self._parameters), ident("c"), verbatim(column.type))
            body = sql("{} into c", one)
            yield from self._make(f"value{number}", signature, query("value", PACKAGE, value=body), SAFE)

    def _values(self) -> Iterator[Composable]:
        """Give the values of some keys, as they are when it is called."""
        numbered = list(enumerate(self.of.columns, 1))
        outs = [sql("{} {}", ident(f"c{number}"), verbatim(each.type)) for number, each in numbered]
        keys = [sql("{} {}", name, verbatim(key.type)) for name, key in zip(self._numbered, self.of.on, strict=True)]
        body = query(
            "values",
            PACKAGE,
            keys=joined(sql("k.{}", name) for name in self._numbered),
            results=joined(sql("v.{}::{}", ident(f"c{number}"), verbatim(each.type)) for number, each in numbered),
            rows=unnested(self._arguments),
            names=joined(self._numbered),
            value=self.of.value([sql("k.{}", name) for name in self._numbered]),
        )
        signature = sql("({}) returns table ({})", self._arrays, joined([*keys, *outs]))
        # few rows, that the tables are read by their indexes
        yield from self._make("values", signature, body, f"rows 10{SAFE}")

    def _recount(self) -> Iterator[Composable]:
        """Set the values of some keys by what the rows of the source say."""
        body = query(
            "recount",
            PACKAGE,
            rows=unnested(self._arguments),
            one=_is_one(self._arguments[0]),
            set_one=self._set_one(self._arguments),
            names=joined(self._numbered),
            values=self.of.function("values"),
            results=joined(sql("k.{}", ident(f"c{number}")) for number, _ in enumerate(self.of.columns, 1)),
            arguments=joined(self._arguments),
            match=equal(self.of.target_keys("t"), [sql("k.{}", name) for name in self._numbered]),
            **self._common,
        )
        yield from self._make("recount", sql("({}) returns void", self._arrays), body, self._settings)

    def _lock_one(self, keys: Sequence[Composable]) -> Composable:
        """Lock the rows of one key in order; a single row needs none, since who waits for it is evaluated again."""
        if self.of.one_row:
            return verbatim("")
        return sql(
            "perform from {} t where {} order by {} for no key update;",
            self.of.target.ident,
            equal(self.of.target_keys("t"), [sql("{}[1]", key) for key in keys]),
            self.of.row_order,
        )

    # -- functions of triggers on the source -------------------------------------------------------------------------------

    def _body(self, event: str) -> Composable:
        if event == "truncate":
            return self._truncated()
        change = Change(self.of, event)
        variables = [(ident(f"pgopt_{name}"), f"{full_type}[]") for name, full_type in change.fields]
        names = [name for name, _ in variables]
        if not change.qualified:
            variables.append((ident("pgopt_path"), "pg_catalog.text := pg_catalog.current_setting('search_path')"))
        keys = [ident(f"pgopt_k{number}") for number, _ in enumerate(self.of.on, 1)]
        return query(
            "on_change",
            PACKAGE,
            variables=joined((sql("{} {}", name, verbatim(kind)) for name, kind in variables), "; "),
            mine=self._mine,
            before=verbatim("" if change.qualified else ALONE),
            after=verbatim("" if change.qualified else BACK),
            gathered=joined(
                sql("pg_catalog.array_agg(d.{}::{})", ident(name), verbatim(kind)) for name, kind in change.fields
            ),
            arrays=joined(names),
            changed=change.query,
            nothing=sql("{} is null", keys[0]),
            hold=self._hold_source(event, keys),
            then=self._then(event, change, keys),
        )

    def _truncated(self) -> Composable:
        of_row = joined(self.of.target_keys("t"))
        again = query("fill_again", PACKAGE, value=self.of.function("value"), keys=of_row, **self._common)
        return query("truncated", PACKAGE, mine=self._mine, again=tried_again(self.of, again))

    @property
    def _mine(self) -> Composable:
        """Leave at once where the table is a partition no more, and refuse where a policy came to hide rows that are to be set."""
        target, source = (literal(render(each.ident)) for each in (self.of.target, self.of.source))
        hidden = sql(
            "if pg_catalog.row_security_active({}::pg_catalog.regclass) then"
            " raise exception 'columns of % cannot be kept by %, from whom row-level security hides rows', {}, current_user; end if;",
            target,
            target,
        )
        if not self.of.source.partitioned:
            return hidden
        return sql(
            "if pg_catalog.pg_partition_root(tg_relid) is distinct from {}::pg_catalog.regclass then return null; end if; {}",
            source,
            hidden,
        )

    def _then(self, event: str, change: Change, keys: Sequence[Composable]) -> Composable:
        """Do in the target what the change is about."""
        read_again = self._read_again(keys)
        done = self._add_up(event, change, keys, read_again) if self.of.incremental else read_again
        return tried_again(self.of, done)

    def _read_again(self, keys: Sequence[Composable]) -> Composable:
        """Set the values of the keys by what the source says."""
        return query(
            "read_again",
            PACKAGE,
            one=sql("{}{}", _is_one(keys[0]), self._seen),
            set_one=self._set_one(keys, self.of.copied(self.of.target_keys("t")) if self.of.plain else None),
            recount=self.of.function("recount"),
            arrays=joined(keys),
        )

    @property
    def _seen(self) -> Composable:
        """Give the condition that no policy hides rows of the source, where they are not read by a function that refuses it."""
        if not self.of.plain:
            return verbatim("")
        name = literal(render(self.of.source.ident))
        return sql(" and not pg_catalog.row_security_active({}::pg_catalog.regclass)", name)

    def _set_one(self, keys: Sequence[Composable], values: Composable | None = None) -> Composable:
        """Set the values of a single key, by a statement of its own, whose plan is not made anew each time."""
        # by the row's own key: what does not hang on the row is not evaluated again after a wait for it
        of_row = self.of.target_keys("t")
        return query(
            "set_one",
            PACKAGE,
            lock_one=self._lock_one(keys),
            values=values or sql("select v.* from {}({}) v", self.of.function("value"), joined(of_row)),
            match_one=equal(of_row, [sql("{}[1]", key) for key in keys]),
            **self._common,
        )

    def _add_up(self, event: str, change: Change, keys: Sequence[Composable], read_again: Composable) -> Composable:
        match_one = equal(self.of.target_keys("t"), [sql("{}[1]", key) for key in keys])
        return query(
            "add_up",
            PACKAGE,
            recounted=sql(
                "pg_catalog.current_setting('pgopt.recounted', true) operator(pg_catalog.=) {}", verbatim(MOMENT)
            ),
            read_again=read_again,
            one=_is_one(keys[0]),
            # what is only added needs no look at the source
            lock_one=verbatim("") if event == "insert" else self._lock_one(keys),
            match_one=match_one,
            merges_one=joined(merged(self.of, number, event, one=True) for number, _ in enumerate(self.of.columns, 1)),
            match=equal(self.of.target_keys("t"), [sql("d.{}", name) for name in self._numbered]),
            merges=joined(merged(self.of, number, event) for number, _ in enumerate(self.of.columns, 1)),
            names=joined(self._numbered),
            key_rows=unnested(keys),
            rows=unnested([ident(f"pgopt_{name}") for name, _ in change.fields]),
            fields=joined(ident(name) for name, _ in change.fields),
            target=self.of.target.ident,
            order=self.of.row_order,
        )

    def _hold_source(self, event: str, keys: Sequence[Composable]) -> Composable:
        """Keep rows of the target from coming which could not see the change, and which it cannot see."""
        if self.of.guaranteed or (not self.of.aggregate and event == "delete"):
            # of columns, whoever adds a row of the target has the row of the source locked
            return verbatim("")
        return sql(
            "perform pgopt.hold_source({}, pg_catalog.array_agg({})) from {} k ({});",
            self.of.number,
            self._hash([sql("k.{}", name) for name in self._numbered]),
            unnested(keys),
            joined(self._numbered),
        )

    # -- functions of triggers on the target -------------------------------------------------------------------------------

    def _rows_of_target(self) -> Iterator[Composable]:
        """Give rows that come, or get another key, their values."""
        yield from self._on_target("set", "before insert on {}", None, self._query("set"))
        yield from self._on_target("moved", "after update on {}", self._has_moved(), self._query("moved"))
        if self.of.aggregate and self.of.guaranteed:
            yield self._trigger("came", "after insert on {}", self._has_some("new"), "moved")

    def _on_target(self, what: str, when: str, condition: Composable | None, body: Composable) -> Iterator[Composable]:
        yield from self._function(what, "returns trigger", body)
        yield self._trigger(what, when, condition, what)

    def _trigger(self, what: str, when: str, condition: Composable | None, function: str) -> Composable:
        return sql(
            "create trigger {} {} for each row {} execute function {}()",
            self.of.trigger(what),
            sql(when, self.of.target.ident),
            sql("when ({})", condition) if condition is not None else verbatim(""),
            self.of.function(function),
        )

    def _query(self, name: str) -> Composable:
        names = [ident(column) for column in self.of.names]
        numbers = range(1, len(names) + 1)
        pieces = {
            "value": self.of.function("value"),
            "keys": joined(self.of.target_keys("new")),
            "hold": self._hold_target(),
            "recounted": verbatim(RECOUNTED),
        }
        if name == "set":
            pieces["values"] = joined(sql("v.{}", ident(f"c{number}")) for number in numbers)
            pieces["columns"] = joined(sql("new.{}", each) for each in names)
            pieces["hold"] = self.moves.unless_it_comes(pieces["hold"])
            return query("set", PACKAGE, **pieces)
        order = [(sql("t.{}", ident(each)), sql("new.{}", ident(each))) for each in self.of.order]
        match = equal([one for one, _ in order], [other for _, other in order])
        return query("moved", PACKAGE, match=match, target=self.of.target.ident, columns=joined(names), **pieces)

    def _hold_target(self) -> Composable:
        """Keep the source from changing unseen until the row of the target is committed."""
        hold = sql("perform pgopt.hold_target({}, {});", self.of.number, self._hash(self.of.target_keys("new")))
        if self.of.aggregate:
            return verbatim("") if self.of.guaranteed else hold
        lock = sql(
            "perform from {} r where {} for share;",
            self.of.source.ident,
            equal(self.of.source_keys, self.of.target_keys("new")),
        )
        if self.of.guaranteed:
            return lock
        return sql("{} if not found then {} {} end if;", lock, hold, lock)

    def _has_moved(self) -> Composable:
        columns = dict.fromkeys([*(key.target for key in self.of.on), *self.of.order])
        return joined((sql("old.{} is distinct from new.{}", ident(name), ident(name)) for name in columns), " or ")

    def _has_some(self, of: str) -> Composable:
        """Give the condition that a row has values of rows of the source, as far as they tell."""
        empty = (
            column.same(sql("{}.{}", verbatim(of), ident(column.name)), self._nothing(column))
            for column in self.of.columns
        )
        return sql("not ({})", joined(empty, " and "))

    def _nothing(self, column: Kept) -> Composable:
        """Give what a column is where the source has no row."""
        if self.of.aggregate:
            return sql("{}::{}", literal(column.empty), verbatim(column.full_type))
        return sql("({})::{}", verbatim(column.default or "null"), verbatim(column.full_type))

    def _drifted(self) -> Composable:
        """Give the condition that a row `t` is not as it should be, which is `v`."""
        return sql("not ({})", self.of.as_it_should_be("t", "v"))

    def _is_written(self) -> Composable:
        same = (
            column.same(sql("old.{}", ident(column.name)), sql("new.{}", ident(column.name)))
            for column in self.of.columns
        )
        return sql("not ({})", joined(same, " and "))

    def _guard(self) -> Composable:
        names = ", ".join(self.of.names)
        message = (
            f"{names} of {self.of.target} cannot be written: triggers keep them equal to what {self.of.source} says,"
            " so write there"
        )
        return query("guard", PACKAGE, message=literal(message))

    # -- what they share ---------------------------------------------------------------------------------------------------

    @property
    def moves(self) -> Moves:
        """What tells the rows of the target that go to another partition."""
        return Moves(self.of)

    @cached_property
    def _common(self) -> dict[str, Composable]:
        return {
            "target": self.of.target.ident,
            "columns": joined(map(ident, self.of.names)),
            "order": self.of.row_order,
        }

    @property
    def _numbered(self) -> list[Composable]:
        return [ident(f"k{number}") for number, _ in enumerate(self.of.on, 1)]

    @property
    def _arguments(self) -> list[Composable]:
        return [verbatim(f"${number}") for number, _ in enumerate(self.of.on, 1)]

    @property
    def _arrays(self) -> Composable:
        return joined(verbatim(f"{key.type}[]") for key in self.of.on)

    @property
    def _parameters(self) -> list[Composable]:
        return [sql("in {} {}", name, verbatim(key.type)) for name, key in zip(self._numbered, self.of.on, strict=True)]

    @property
    def _settings(self) -> str:
        return " set pgopt.keeping = 'on'" if self.of.read_only else ""

    def _hash(self, keys: Sequence[Composable]) -> Composable:
        """Give a number for a key, which is the same for equal keys."""
        cast = (sql("{}::{}", value, verbatim(key.type)) for value, key in zip(keys, self.of.on, strict=True))
        return sql("pg_catalog.hash_record_extended(row({}), {})", joined(cast), self.of.number)

    def _shown(self) -> Composable:
        """Give the columns of the view: the key of the row, what is, and what should be."""
        keys = (sql("t.{} as {}", ident(name), ident(f"key{n}")) for n, name in enumerate(self.of.order, 1))
        there = (sql("t.{} as {}", ident(name), ident(f"is{n}")) for n, name in enumerate(self.of.names, 1))
        wanted = (sql("v.{} as {}", ident(f"c{n}"), ident(f"should{n}")) for n, _ in enumerate(self.of.names, 1))
        return joined([*keys, *there, *wanted])

    def _function(self, what: str, returns: str, body: Composable) -> Iterator[Composable]:
        # writers need no rights on the other table, and no policy hides rows from it
        settings = SAFE if what == "set" else "" if what in BARE else self._settings
        yield from self._make(what, sql("() {}", verbatim(returns)), body, f"security definer{settings}")

    def _make(self, what: str, signature: Composable, body: Composable, more: str) -> Iterator[Composable]:
        name = self.of.function(what)
        yield sql(
            "create function {}{} language plpgsql {} as {}",
            name,
            signature,
            verbatim(more),
            literal(render(body)),
        )
        yield sql("revoke all on function {} from public", name)


def _is_one(keys: Composable) -> Composable:
    return sql("pg_catalog.cardinality({}) operator(pg_catalog.=) 1", keys)
