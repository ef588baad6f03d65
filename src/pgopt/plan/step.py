"""What a plan is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pgopt.server.quoting import render, verbatim

if TYPE_CHECKING:
    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.locks import Lock
    from pgopt.server.objects import Relation

    Composing = Callable[[Catalog], Iterable[Composable]]
    Question = Callable[[Catalog], bool]
    Cleaning = Callable[[Catalog], Iterator["Step"]]


@dataclass(frozen=True)
class Step:
    """One thing that happens on the server.

    A step in a transaction is short: it takes its locks at once, or gives up and tries again. One that cannot run in a
    transaction (CONCURRENTLY) waits long and blocks nobody meanwhile.
    """

    label: str
    """What it does, for people."""
    sql: Composable | Sequence[Composable] | Composing
    """The statement, or some that belong together in one transaction; or what composes them there, under its locks."""
    locks: Sequence[Lock] = ()
    """The strongest lock on each relation that is there before, in the order in which they are taken."""
    transaction: bool = True
    """Whether it runs in a transaction of its own."""
    done: Question | None = None
    """Whether it is done already."""
    clear: Cleaning | None = None
    """What removes a half-done state before it begins, or after it failed."""
    explain: Callable[[Catalog], str] | None = None
    """What stands against it in the data, said when the server has refused the statement; or what such a failure leaves."""
    give_up: Sequence[Step] = ()
    """What takes earlier steps of the plan back when this one fails for such a reason."""
    before: Sequence[AnyStep] = ()
    """What is done anew before each attempt, so that little is left to do under the locks."""
    refuse: Callable[[Catalog], None] | None = None
    """What is asked once its statements are done, and raises where they must not be committed: others may have come in between."""
    last: Sequence[Composable] = ()
    """What is sent when nothing was refused, in the same transaction."""
    beside: Callable[[Catalog], Iterable[Relation]] = field(default=lambda _: ())
    """What else it locks, which came with the operation: nobody but an autovacuum can be at work there."""

    def __post_init__(self) -> None:
        # a name may have several lines, what is told of it has one
        object.__setattr__(self, "label", " ".join(self.label.splitlines()))

    @property
    def statements(self) -> Sequence[Composable]:
        """The statements in their order, where they are known beforehand."""
        if callable(self.sql):
            return []
        return [*(self.sql if isinstance(self.sql, Sequence) else [self.sql]), *self.last]

    def compose(self, db: Catalog) -> Iterator[Composable]:
        """Give the statements one by one; each may be sent before the next is composed."""
        if callable(self.sql):
            yield from self.sql(db)
        else:
            yield from self.statements[: -len(self.last) or None]
        if self.refuse is not None:
            self.refuse(db)
        yield from self.last

    def unless(self, done: Question) -> Step:
        """Give the same step, done also where this is so."""
        return replace(self, done=lambda db: done(db) or (self.done is not None and self.done(db)))


def by_columns(key: Sequence[str]) -> str:
    """Say by what batches go through a table."""
    return f"({', '.join(key) or 'pages'})"


@dataclass(frozen=True)
class BatchStep:
    """A statement over all rows of one table: cut into short transactions by key, and resumable."""

    label: str
    table: Relation
    key: Sequence[str]
    statement: Callable[[Composable], Composable]
    """Makes the statement for the rows of one range, given as a condition on the key."""
    locks: Sequence[Lock] = ()
    into: Composable | None = None
    """What it fills from page to page, without a key: where a log tells of the rows that move meanwhile."""
    restart: Sequence[Composable] = ()
    """What makes a new beginning when the table has new files, and so other pages."""
    until: Sequence[str] | None = None
    """The last key that is meant, where that is not the last one of the table."""

    @property
    def by(self) -> str:
        """By what it goes through the table, in parentheses."""
        return by_columns(self.key)

    @property
    def task(self) -> str:
        """Tell it from others of its revision on the same table: by what it does, and by which key."""
        return f"{self.label} {self.by} {self.digest}"

    @property
    def digest(self) -> str:
        """Tell what it does."""
        statement = render(self.statement(verbatim("true")))
        return hashlib.blake2b(statement.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class DrainStep:
    """A query that takes some of what is waiting, and gives how much that was: repeated until little is left."""

    label: str
    take: Callable[[int | None], Composable]
    """Makes the query that takes at most so much, or all."""
    table: Relation
    """Where the work is done."""
    locks: Sequence[Lock] = ()
    done: Question | None = None
    enough: int = 100
    """So little may be left, to be taken under a lock; where none may be, it goes on until nothing comes."""


AnyStep = Step | BatchStep | DrainStep


@dataclass(frozen=True)
class Plan:
    """The ordered steps of one operation against the database as it is now."""

    title: str
    steps: Sequence[AnyStep]
    notes: Sequence[str] = field(default=())
    """What somebody should know, whoever looks at the plan or carries it out."""
