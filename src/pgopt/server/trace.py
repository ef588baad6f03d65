"""What a statement really does to others: the locks it takes and the work it does under them, as the server sees them.

Reading the SQL does not tell: whether ALTER TABLE rewrites, scans or does neither depends on what is in the database.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import literal, sql
from pgopt.server.watch import beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgopt.server.session import Session

EVERY = 0.005


@dataclass(frozen=True)
class Trace:
    """What was seen of some statements; relations that they made themselves, and the server's own, do not count."""

    locks: frozenset[Lock]
    """The strongest lock on each relation. Of indexes and sequences only from SHARE UPDATE EXCLUSIVE on: any use takes the others; and
    none on those that went CONCURRENTLY: nobody could use them any more when they were locked."""
    rewritten: frozenset[str]
    """Tables and materialized views that got new files, with rows in them."""
    scanned: frozenset[str]
    """Relations whose rows were read, one after the other or by an index in great numbers."""
    indexed: frozenset[str]
    """Indexes that were built, or built anew, over rows that were there before."""

    @property
    def works(self) -> bool:
        """Whether this takes the longer, the more rows there are."""
        return bool(self.rewritten or self.scanned or self.indexed)

    @property
    def blocking(self) -> bool:
        """Whether others wait for all of that work: writers at least, or everybody."""
        return self.works and any(lock.mode >= Mode.SHARE for lock in self.locks)

    def __str__(self) -> str:
        held = ", ".join(sorted(map(str, self.locks))) or "no lock"
        work = (("rewrites", self.rewritten), ("scans", self.scanned), ("builds", self.indexed))
        return "; ".join([held, *(f"{verb} {', '.join(sorted(names))}" for verb, names in work if names)])


class _Relation(NamedTuple):
    oid: int
    schema: str
    name: str
    kind: str
    table: int | None
    tablespace: int
    filenode: int
    read: int

    @property
    def file(self) -> tuple[int, int]:
        """Where the rows are: it stays what it is when the relation is renamed, or dropped and made again with it."""
        return self.tablespace, self.filenode

    @property
    def is_index(self) -> bool:
        return self.kind in "iI"

    @property
    def is_part(self) -> bool:
        """Whether it is used with a table, as indexes and sequences are."""
        return self.is_index or self.kind == "S"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class Tracer:
    """Looks at the database when it is made, and at what has changed when it is asked.

    Statements in a transaction are traced by the session that runs them, before it commits::

        tracer = Tracer(session)
        session.run(...)
        if tracer.trace().blocking: ...

    Those that cannot run in one are watched from a second connection meanwhile; their scans are not counted::

        with tracer.from_outside():
            session.run("vacuum full tickets")
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._before = _relations(session)
        self._modes: dict[int, Mode] = {}
        self._outside = False

        self.looks = 0
        """How often it has looked."""

    @property
    def locks(self) -> frozenset[Lock]:
        """The strongest locks seen so far; another thread may ask while the statement is at work."""
        seen = ((self._before[oid], mode) for oid, mode in list(self._modes.items()))
        return frozenset(
            Lock(mode, relation.name, relation.schema, is_index=relation.is_part)
            for relation, mode in seen
            if not relation.is_part or mode >= Mode.SHARE_UPDATE_EXCLUSIVE
        )

    @contextmanager
    def from_outside(self) -> Iterator[None]:
        """Watch the locks of the session from a second connection during a block."""
        self._outside = True
        ended = Event()
        with beside(self.session.connection.engine) as observer, ThreadPoolExecutor(1, "pgopt tracer") as threads:
            watching = threads.submit(self._poll, observer, self.session.pid, ended)
            try:
                yield
            finally:
                ended.set()
        watching.result()

    def trace(self) -> Trace:
        """Tell what happened since the tracer was made."""
        self._look(self.session, self.session.pid)
        after = _relations(self.session)
        if self._outside:
            gone = [oid for oid in self._modes if self._before[oid].is_index and oid not in after]
            for oid in gone:
                del self._modes[oid]
        return Trace(
            self.locks,
            frozenset(map(str, self._rewritten(after))),
            frozenset(map(str, self._scanned(after))),
            frozenset(map(str, self._indexed(after))),
        )

    def _poll(self, observer: Session, pid: int, ended: Event) -> None:
        while not ended.wait(EVERY):
            self._look(observer, pid)

    def _look(self, session: Session, pid: int) -> None:
        # one that it waits for counts, too: it may hold that for less than a moment
        held = session.rows(
            sql(
                "select relation::int8, mode from pg_locks where pid = {} and locktype = 'relation'"
                " and database = (select oid from pg_database where datname = current_database()) and mode <> 'SIReadLock'",
                literal(pid),
            )
        )
        for oid, name in held:
            if oid in self._before:
                mode = Mode.from_server(name)
                self._modes[oid] = max(mode, self._modes.get(oid, mode))
        self.looks += 1

    def _rewritten(self, after: Mapping[int, _Relation]) -> Iterator[_Relation]:
        for oid, before in self._before.items():
            if before.kind in "rm" and oid in after and after[oid].file != before.file and self._pages(oid):
                yield before

    def _scanned(self, after: Mapping[int, _Relation]) -> Iterator[_Relation]:
        if self._outside:
            # the server counts for each transaction
            return
        by_index: defaultdict[int, int] = defaultdict(int)
        for oid, now in after.items():
            before = self._before.get(oid)
            if before is None or now.read == before.read:
                continue
            if before.table is None:
                yield before
            else:
                by_index[before.table] += now.read - before.read
        # a look at single rows is no scan
        yield from (self._before[oid] for oid, rows in by_index.items() if rows > self._pages(oid))

    def _indexed(self, after: Mapping[int, _Relation]) -> Iterator[_Relation]:
        files = {relation.file for relation in self._before.values()}
        for now in after.values():
            if now.kind == "i" and now.file not in files and now.table in self._before and self._pages(now.table):
                yield now

    def _pages(self, oid: int) -> int:
        pages = "select pg_relation_size({}) / current_setting('block_size')::int8"
        return int(self.session.value(sql(pages, literal(oid))) or 0)


def _relations(session: Session) -> dict[int, _Relation]:
    return {row[0]: _Relation(*row) for row in session.rows(query("trace"))}
