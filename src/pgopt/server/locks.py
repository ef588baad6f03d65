"""Table locks: which there are, who holds them, and how long to try for them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import groupby
from typing import TYPE_CHECKING

from pgopt.server.objects import Relation
from pgopt.server.queries import query
from pgopt.server.quoting import dollars, ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.session import Session


class Mode(IntEnum):
    """The table locks of PostgreSQL, weakest first."""

    ACCESS_SHARE = 1
    ROW_SHARE = 2
    ROW_EXCLUSIVE = 3
    SHARE_UPDATE_EXCLUSIVE = 4
    SHARE = 5
    SHARE_ROW_EXCLUSIVE = 6
    EXCLUSIVE = 7
    ACCESS_EXCLUSIVE = 8

    @property
    def words(self) -> str:
        """As in SQL: ACCESS SHARE."""
        return self.name.replace("_", " ")

    @property
    def server_name(self) -> str:
        """As in pg_locks: AccessShareLock."""
        return self.name.title().replace("_", "") + "Lock"

    @classmethod
    def from_server(cls, name: str) -> Mode:
        """Read the name in pg_locks."""
        return next(mode for mode in cls if mode.server_name == name)

    def conflicts(self) -> frozenset[Mode]:
        """Give the locks that cannot be held beside this one."""
        return _CONFLICTS[self]

    @property
    def blocks_reads(self) -> bool:
        """Whether a SELECT waits."""
        return Mode.ACCESS_SHARE in self.conflicts()

    @property
    def blocks_writes(self) -> bool:
        """Whether an INSERT, UPDATE or DELETE waits."""
        return Mode.ROW_EXCLUSIVE in self.conflicts()


# each mode and the weakest ones it conflicts with; SHARE is the one that does not conflict with itself
_CONFLICTS = {
    Mode.ACCESS_SHARE: frozenset({Mode.ACCESS_EXCLUSIVE}),
    Mode.ROW_SHARE: frozenset({Mode.EXCLUSIVE, Mode.ACCESS_EXCLUSIVE}),
    Mode.ROW_EXCLUSIVE: frozenset(mode for mode in Mode if mode >= Mode.SHARE),
    Mode.SHARE_UPDATE_EXCLUSIVE: frozenset(mode for mode in Mode if mode >= Mode.SHARE_UPDATE_EXCLUSIVE),
    Mode.SHARE: frozenset(mode for mode in Mode if mode >= Mode.ROW_EXCLUSIVE) - {Mode.SHARE},
    Mode.SHARE_ROW_EXCLUSIVE: frozenset(mode for mode in Mode if mode >= Mode.ROW_EXCLUSIVE),
    Mode.EXCLUSIVE: frozenset(mode for mode in Mode if mode >= Mode.ROW_SHARE),
    Mode.ACCESS_EXCLUSIVE: frozenset(Mode),
}


_VACUUM = Mode.SHARE_UPDATE_EXCLUSIVE


@dataclass(frozen=True)
class Lock:
    """The strongest lock that a step takes on one relation which is there before."""

    mode: Mode
    name: str
    schema: str | None = None
    is_index: bool = False
    """Whether it is an index or a sequence, which cannot be locked before they are used."""
    by_owner: bool = field(default=False, compare=False)
    """Whether it is taken as its owner takes it: of a view, and where LOCK TABLE is refused to the owner."""
    by_statement: bool = field(default=False, compare=False)
    """Whether the statement takes it, since LOCK TABLE refuses it: on what is no table, a foreign one, or one of another role."""

    def __str__(self) -> str:
        return f"{self.mode.words} on {f'{self.schema}.' if self.schema else ''}{self.name}"

    @property
    def ident(self) -> Composable:
        """The quoted name of the relation."""
        return ident(self.schema, self.name)


@dataclass(frozen=True)
class Blocker:
    """A session that stands in the way."""

    pid: int
    user: str | None
    application: str | None
    state: str | None
    age: float | None
    """For how long its transaction has been open."""
    query: str | None

    def __str__(self) -> str:
        open_for = None if self.age is None else f"transaction open for {self.age:.1f} s"
        known = ", ".join(filter(None, (who(self.pid, self.user, self.application), self.state, open_for)))
        line = next(iter((self.query or "").strip().splitlines()), "")
        return f"{known}: {line[:80]}" if line else known


@dataclass(frozen=True)
class Prepared(Blocker):
    """A transaction that was prepared for a commit in two phases: it waits for somebody, and no session has it."""

    gid: str = ""

    def __str__(self) -> str:
        gid = render(literal(self.gid))
        return f"transaction of {self.user}, prepared {self.age:.1f} s ago: `commit prepared {gid}` or `rollback prepared {gid}` ends it"


def who(pid: int, user: str | None, application: str | None) -> str:
    """Name a session by what every role may see of it."""
    return " ".join(filter(None, (f"pid {pid}", user, application and f"({application})")))


# of the sessions of others the server tells who may not see them no more than the first three
SESSION = """
    a.pid, a.usename, a.application_name, a.state,
    extract(epoch from clock_timestamp() - a.xact_start)::float8, nullif(a.query, '<insufficient privilege>')
"""


def blockers_of(session: Session, locks: Sequence[Lock]) -> list[Blocker]:
    """Who holds a lock now that conflicts with one of these."""
    if not locks:
        return []
    wanted = joined(
        sql("(to_regclass({}), {})", literal(render(lock.ident)), literal(other.server_name))
        for lock in locks
        for other in lock.mode.conflicts()
    )
    held = sql(
        "l.granted and l.locktype = 'relation' and l.database = (select oid from pg_database where datname = current_database())"
        " and (l.relation, l.mode) in ({})",
        wanted,
    )
    rows = session.rows(
        sql(
            "select distinct on (a.pid) {} from pg_locks l join pg_stat_activity a using (pid)"
            " where a.pid <> pg_backend_pid() and {} order by a.pid",
            verbatim(SESSION),
            held,
        )
    )
    holds = sql(
        "transaction in (select own.transactionid from pg_locks own join pg_locks l using (virtualtransaction)"
        " where own.locktype = 'transactionid' and own.pid is null and l.pid is null and {})",
        held,
    )
    return [*(Blocker(*row) for row in rows), *_prepared(session, holds)]


def _prepared(session: Session, which: Composable) -> list[Prepared]:
    """Give prepared transactions, the oldest first."""
    rows = session.rows(
        sql(
            "select owner, extract(epoch from clock_timestamp() - prepared)::float8, gid from pg_prepared_xacts where {}"
            " order by prepared limit 10",
            which,
        )
    )
    return [Prepared(0, owner, None, "prepared", age, None, gid) for owner, age, gid in rows]


def sessions_blocking(session: Session, pid: int) -> list[Blocker]:
    """Who stands before a waiting session; its locks on old transactions count, too."""
    query = sql(
        "select {} from pg_stat_activity a where a.pid = any(pg_blocking_pids({})) order by a.pid",
        verbatim(SESSION),
        literal(pid),
    )
    return [Blocker(*row) for row in session.rows(query)]


def older_than(session: Session, seconds: float) -> list[Blocker]:
    """Give the transactions of this database that have been open for longer, the oldest first."""
    query = sql(
        "select {} from pg_stat_activity a where a.datname = current_database() and a.pid <> pg_backend_pid()"
        " and a.xact_start < clock_timestamp() - make_interval(secs => {}) order by a.xact_start limit 10",
        verbatim(SESSION),
        literal(seconds),
    )
    old = sql(
        "database = current_database() and prepared < clock_timestamp() - make_interval(secs => {})", literal(seconds)
    )
    return [*(Blocker(*row) for row in session.rows(query)), *_prepared(session, old)]


def one_a_line(blockers: Sequence[Blocker]) -> str:
    """Name sessions at the end of an error."""
    return "".join(f"\n  {blocker}" for blocker in blockers) or "\n  nobody any more: try again"


def lock_tables(locks: Sequence[Lock]) -> Iterator[Composable]:
    """Give the LOCK TABLE statements for these, one for each run of locks of one mode."""
    tables = [lock for lock in locks if not lock.is_index and not lock.by_statement]
    for (mode, by_owner), group in groupby(tables, key=lambda lock: (lock.mode, lock.by_owner)):
        if by_owner:
            yield _lock_by_owner(group)
            continue
        names = joined(sql("only {}", lock.ident) for lock in group)
        yield sql("lock table {} in {} mode", names, verbatim(mode.words.lower()))


def allowed(session: Session, locks: Sequence[Lock]) -> list[Lock]:
    """Tell how each of these is to be taken: LOCK TABLE is refused to who may not write, be it the owner, and of a table of others.

    The owner keeps writers out all the same, since a step may rest on that; all else is left to the statement.
    """
    taken = list(locks)
    asked = [place for place, lock in enumerate(taken) if not (lock.is_index or lock.by_owner or lock.by_statement)]
    if not asked:
        return taken
    names = literal([render(taken[place].ident) for place in asked])
    more = ", maintain" if session.version >= 170000 else ""
    needs = literal([_NEEDS.get(taken[place].mode, f"update, delete, truncate{more}") for place in asked])
    for number, is_ours in session.rows(query("lockable", names=names, needs=needs)):
        place = asked[number]
        if is_ours and taken[place].mode.blocks_writes:
            taken[place] = replace(taken[place], mode=Mode.ACCESS_EXCLUSIVE, by_owner=True)
        else:
            taken[place] = replace(taken[place], by_statement=True)
    return taken


# what LOCK TABLE asks for, beside more of newer servers
_NEEDS = {Mode.ACCESS_SHARE: "select", Mode.ROW_EXCLUSIVE: "insert, update, delete, truncate"}


def cleaned(session: Session, locks: Iterable[Lock], beside: Iterable[Relation] = ()) -> list[Relation]:
    """Give those tables and materialized views of which somebody holds the lock that an autovacuum takes, so that these would wait.

    It holds another on their indexes. What one has no right to lock is left out.
    """
    wanted = [
        render(lock.ident)
        for lock in locks
        if (Mode.ROW_EXCLUSIVE if lock.is_index else _VACUUM) in lock.mode.conflicts()
    ]
    oids = [each.oid for each in beside]
    if not wanted and not oids:
        return []
    said = query("cleaned", mode=literal(_VACUUM.server_name), oids=literal(oids), names=literal(wanted))
    return [Relation(*row) for row in session.rows(said)]


def of_vacuum(relation: Relation) -> Lock:
    """Give the lock that VACUUM takes, to say who has it."""
    return Lock(_VACUUM, relation.name, relation.schema)


def lock_as_vacuum(relation: Relation) -> Composable:
    """Take the lock that an autovacuum takes, for which neither readers nor writers wait; in a transaction that is rolled back."""
    if relation.kind == "m":
        # LOCK TABLE refuses it
        return sql("comment on materialized view {} is null", relation.ident)
    return sql("lock table only {} in {} mode", relation.ident, verbatim(_VACUUM.words.lower()))


def _lock_by_owner(locks: Iterable[Lock]) -> Composable:
    """Lock views alone: LOCK TABLE would lock all that they read, too, and refuses materialized ones; and tables of which it refuses us.

    Giving one to its owner takes ACCESS EXCLUSIVE. All are locked by one statement: who reads some of them one after the other
    would come in between.
    """
    names = joined(literal(render(lock.ident)) for lock in locks)
    return dollars(lambda tag: sql(_LOCK_BY_OWNER, tag=tag, names=names))


_LOCK_BY_OWNER = """do {tag} declare it regclass; begin
    foreach it in array array[{names}]::regclass[] loop
        execute (select format('alter %s %s owner to %I',
                               case c.relkind when 'm' then 'materialized view' when 'v' then 'view' else 'table only' end, it,
                               pg_get_userbyid(c.relowner)) from pg_class c where c.oid = it);
    end loop;
end {tag}"""


def together(statements: Iterable[Composable | str], seconds: float) -> Composable:
    """Give one statement that sends others one after the other, all of whose waits for locks together may take so long.

    Under a lock each way to the server and back is time for which others wait.
    """
    texts = joined(literal(render(each)) for each in statements)
    return dollars(lambda tag: sql(_TOGETHER, tag=tag, seconds=literal(seconds), statements=texts))


_TOGETHER = """do {tag}
declare
    give_up constant timestamptz := clock_timestamp() + make_interval(secs => {seconds});
    it text;
begin
    foreach it in array array[{statements}] loop
        perform set_config('lock_timeout', ceil(greatest(1, extract(epoch from give_up - clock_timestamp()) * 1000)) || 'ms', true);
        execute it;
    end loop;
end
{tag}"""


HARMLESS = 0.8
"""The share of deadlock_timeout that one may wait for locks and hold others: nobody becomes the victim of a deadlock by that."""


def deadlock_timeout(session: Session) -> float:
    """Give after how many seconds the server looks who waits for whom."""
    return float(session.value("select extract(epoch from current_setting('deadlock_timeout')::interval)"))


def waits(attempts: int, first: float, longest: float) -> Iterator[float]:
    """Give growing waits with jitter between this many attempts."""
    wait = first
    for _ in range(attempts - 1):
        yield wait * random.uniform(0.7, 1.3)
        wait = min(wait * 1.5, longest)
