"""Writers at work beside an operation, and a ledger of what they have committed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.databases import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg import Connection

    from tests.databases import Database


@dataclass
class Writer:
    """A session in a thread of its own that repeats some work until it is told to stop; errors are kept."""

    database: Database
    work: Callable[[Connection[Any], int], object]
    done: int = 0
    error: Exception | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the piece of work at hand, and end."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _write(self) -> None:
        try:
            with self.database.connect() as connection:
                while not self._stop.is_set():
                    self.work(connection, self.done)
                    self.done += 1
        except Exception as error:  # noqa: BLE001
            self.error = error


@contextmanager
def at_work(writers: Sequence[Writer]) -> Iterator[Callable[[], None]]:
    """Let writers work during a block, and give what waits until each of them has done something more.

    At the end no writer may have seen an error.
    """

    def more() -> None:
        seen = [writer.done for writer in writers]
        wait_until(
            "that each writer goes on",
            lambda: all(w.error or w.done > was for w, was in zip(writers, seen, strict=True)),
        )

    for writer in writers:
        writer.start()
    try:
        more()
        yield more
        more()
    finally:
        for writer in writers:
            writer.stop()
    for writer in writers:
        assert writer.error is None, f"a writer saw {writer.error!r}"


# -- a workload with a ledger --------------------------------------------------------------------------------------------

ACCOUNTS = """
create table accounts (id bigint primary key, owner int not null, code text not null unique, balance int not null default 0,
                       backfilled text);
"""
ROWS_EACH = 400
SLOW = 0.3

Row = tuple[int, int, str, int]


@dataclass
class Owner:
    """A writer that alone writes the rows of one owner, and so knows what must be in them.

    What it wrote counts when its transaction has committed.
    """

    number: int
    upserts: bool = True
    rows: dict[int, Row] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.number)
        self.next_id = self.number * 1_000_000
        self.tasks: Sequence[Callable[[Connection[Any]], object]] = (
            self.insert,
            self.insert_many,
            self.update,
            self.update_many,
            self.delete,
            self.change_key,
            *([self.upsert] if self.upserts else []),
            self.roll_savepoint_back,
            self.roll_back,
            self.slowly,
        )

    def __call__(self, connection: Connection[Any], turn: int) -> None:
        """Do one transaction; the slow ones come seldom."""
        task = self.tasks[turn % len(self.tasks)] if turn < len(self.tasks) else self.chance.choice(self.tasks)
        before, undone = dict(self.rows), task == self.roll_back
        with connection.transaction(force_rollback=undone):
            task(connection)
        if undone:
            self.rows = before
        self.kinds[task.__name__] += 1

    @property
    def complete(self) -> bool:
        """Whether each kind of write was done."""
        return len(self.kinds) == len(self.tasks)

    def new(self) -> Row:
        """A row that was never there."""
        self.next_id += self.chance.randint(1, 9)
        return (self.next_id, self.number, f"code {self.next_id}", self.chance.randint(1, 1000))

    def some(self, count: int) -> list[int]:
        """Keys of rows that are there, in any order."""
        return self.chance.sample(sorted(self.rows), min(count, len(self.rows)))

    def insert(self, connection: Connection[Any]) -> None:
        """Insert one row."""
        row = self.new()
        connection.execute("insert into accounts (id, owner, code, balance) values (%s, %s, %s, %s)", row)
        self.rows[row[0]] = row

    def insert_many(self, connection: Connection[Any], count: int = 20) -> None:
        """Insert rows by one statement."""
        rows = [self.new() for _ in range(count)]
        ids, owners, codes, balances = (list(values) for values in zip(*rows, strict=True))
        connection.execute(
            "insert into accounts (id, owner, code, balance)"
            " select * from unnest(%s::bigint[], %s::int[], %s::text[], %s::int[])",
            [ids, owners, codes, balances],
        )
        self.rows |= {row[0]: row for row in rows}

    def update(self, connection: Connection[Any]) -> None:
        """Update one row."""
        for key in self.some(1):
            self._add(connection, key, 1)

    def update_many(self, connection: Connection[Any]) -> None:
        """Update rows by one statement."""
        keys = self.some(15)
        connection.execute("update accounts set balance = balance + 10 where id = any(%s)", [keys])
        for key in keys:
            self._expect(key, 10)

    def delete(self, connection: Connection[Any]) -> None:
        """Delete rows."""
        keys = self.some(5)
        connection.execute("delete from accounts where id = any(%s)", [keys])
        for key in keys:
            del self.rows[key]

    def change_key(self, connection: Connection[Any]) -> None:
        """Give a row another key."""
        for key in self.some(2):
            (new, *_) = self.new()
            connection.execute("update accounts set id = %s where id = %s", [new, key])
            self.rows[new] = (new, *self.rows.pop(key)[1:])

    def upsert(self, connection: Connection[Any]) -> None:
        """Insert rows of which some are there."""
        for key in [*self.some(2), self.new()[0]]:
            row = self.rows.get(key, (key, self.number, f"code {key}", 0))
            connection.execute(
                "insert into accounts as a (id, owner, code, balance) values (%s, %s, %s, 100)"
                " on conflict (code) do update set balance = a.balance + 100",
                row[:3],
            )
            self.rows[key] = (*row[:3], row[3] + 100)

    def roll_savepoint_back(self, connection: Connection[Any]) -> None:
        """Write, roll a part of it back, and write on."""
        self.insert(connection)
        kept = dict(self.rows)
        with connection.transaction(force_rollback=True):
            self.insert_many(connection, 3)
            self.delete(connection)
        self.rows = kept
        self.update(connection)

    def roll_back(self, connection: Connection[Any]) -> None:
        """Write, and roll all of it back."""
        self.insert(connection)
        self.update_many(connection)

    def slowly(self, connection: Connection[Any]) -> None:
        """Hold a transaction open between writes, to rows in any order."""
        for key in self.some(3):
            self._add(connection, key, 1000)
        time.sleep(SLOW)
        for key in self.some(3):
            self._add(connection, key, 1000)

    def _add(self, connection: Connection[Any], key: int, amount: int) -> None:
        connection.execute("update accounts set balance = balance + %s where id = %s", [amount, key])
        self._expect(key, amount)

    def _expect(self, key: int, amount: int) -> None:
        row = self.rows[key]
        self.rows[key] = (*row[:3], row[3] + amount)


def owners(database: Database, count: int, *, upserts: bool = True) -> list[Owner]:
    """Make the table, and writers that each own some rows of it."""
    database.run(ACCOUNTS)
    found = [Owner(number, upserts=upserts) for number in range(1, count + 1)]
    with database.connect() as connection:
        for owner in found:
            owner.insert_many(connection, ROWS_EACH)
    return found


def expected(owned: Sequence[Owner]) -> list[Row]:
    """All rows that were committed."""
    return sorted(row for owner in owned for row in owner.rows.values())


@dataclass
class Climber:
    """A writer that updates rows of its own one by one, far apart and in one direction, in one transaction."""

    number: int
    count: int
    rows: int
    step: int
    added: Counter[int] = field(default_factory=Counter)

    def __call__(self, connection: Connection[Any], turn: int) -> None:
        """Do one transaction over eight rows from all over the table."""
        chance = random.Random(f"{self.number} {turn}")
        own = [key for key in range(1, self.rows + 1) if key % self.count == self.number]
        keys = sorted(chance.sample(own, 8), reverse=self.step < 0)
        with connection.transaction():
            for key in keys:
                connection.execute("update items set n = n + 1000, tag = 'writer' where id = %s", [key])
                # long enough that a batch comes in between
                time.sleep(0.01)
        self.added.update(keys)
