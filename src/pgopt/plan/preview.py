"""The runner that shows: what would happen to a database, with which locks, before it does.

It looks through a connection of its own that leaves nothing behind: it reads, and makes temporary things that are rolled back. It waits for
nobody long, and takes no lock that others notice.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from pgopt.errors import NotInstalled, PgoptError
from pgopt.plan.revisions import Revision, memory_of
from pgopt.plan.step import BatchStep, DrainStep
from pgopt.server.catalog import Catalog
from pgopt.server.locks import Mode
from pgopt.server.queries import query
from pgopt.server.quoting import literal, render, sql, verbatim
from pgopt.server.session import Session, server_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import URL, Connection

    from pgopt.plan.run import Plannable
    from pgopt.plan.step import AnyStep, Step
    from pgopt.server.locks import Lock

LIMITS = (
    "set default_transaction_read_only = on",
    "set application_name = 'pgopt plan'",
    "set lock_timeout = '5s'",
    "set statement_timeout = '60s'",
)

MIXED = (
    "this revision does plain work before the online operation, so the run will refuse it: move the operation to a revision"
    " of its own"
)


@dataclass
class StepView:
    """One step: its locks, who waits for them, and whether it is done."""

    label: str
    sql: list[str]
    locks: list[str]
    blocks: str
    """Whom it keeps waiting: nobody, writes, or reads and writes, and for how long."""
    done: bool | None
    """Whether it is done already; nothing where that depends on steps before it."""
    clears: list[str] = field(default_factory=list)
    """What an interrupted run left, and is removed first."""


@dataclass
class TableView:
    """A table that an operation works on."""

    name: str
    rows: int | None
    """As the planner believes; nothing where it was never analyzed."""
    bytes: int
    """With its indexes, and with its partitions."""


@dataclass
class OperationView:
    """One operation of pgopt's."""

    title: str
    operation: str
    steps: list[StepView] = field(default_factory=list)
    tables: list[TableView] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    again: bool = False
    """Whether something before it changes the database, so that it is planned again when it is reached."""
    refused: str | None = None
    """Why it cannot be planned on the database as it is."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.refused is not None or any(step.done is not True for step in self.steps)


@dataclass
class SqlView:
    """Plain operations of Alembic's, as what they send."""

    sql: str


@dataclass
class RevisionView:
    """One revision on its way up or down."""

    id: str
    direction: str
    doc: str | None
    parts: list[OperationView | SqlView] = field(default_factory=list)
    unseen: str | None = None
    """Why the rest of it cannot be shown before it runs."""
    database: str | None = None
    """In which database, where env.py goes through several."""


class Preview:
    """Collects what revisions would do; Alembic's context has it as the option `pgopt_preview`."""

    def __init__(self, url: URL | None = None) -> None:
        self.url = url
        self.database: str | None = None
        """The database that is looked at, where env.py goes through several."""
        self.chain: str | None = None
        """The chain of revisions, as the database names it."""
        self.revisions: list[RevisionView] = []
        self.notes: list[str] = []
        self.output = StringIO()
        self.allows_mixed: Callable[[Plannable], bool] = lambda _: False
        self._db: Catalog | None = None
        self._changed = False

    @contextmanager
    def looking(self, connection: Connection) -> Iterator[None]:
        """Look through a connection in autocommit for a block; it only reads from then on."""
        session = Session(connection)
        session.run(*LIMITS)
        self._db, self._changed = Catalog(session, thorough=True), False
        yield
        self._db = None

    @contextmanager
    def revision(self, identifier: str, direction: str, doc: str | None) -> Iterator[None]:
        """Collect what one revision does, for a block in which its function runs."""
        found = RevisionView(identifier, direction, doc, database=self.database)
        self.revisions.append(found)
        self._take_sql()
        try:
            yield
        except PgoptError as error:
            found.unseen = str(error)
        except Exception as error:  # noqa: BLE001  -- a revision may do anything with what a database would have answered
            self._keep_sql()
            reason = next(iter(str(error).splitlines()), "")
            found.unseen = (
                f"what follows cannot be shown ({type(error).__name__}: {reason}): what reads the database in Python can be"
                " seen only when it runs"
            )
        self._keep_sql()
        self._changed = self._changed or found.unseen is not None

    def note(self, sentence: str) -> None:
        """Say something about the database that is looked at."""
        self.notes.append(sentence if self.database is None else f"{self.database}: {sentence}")

    def show(self, operation: Plannable, chain: str) -> None:
        """Show an operation instead of carrying it out."""
        assert self._db is not None
        self._keep_sql()
        self._db.memory = memory_of(Revision(self.chain or chain, self.revisions[-1].id, self.revisions[-1].direction))
        view = OperationView(operation.title, repr(operation), again=self._changed)
        if self._works_before(self.revisions[-1]) and not self.allows_mixed(operation):
            view.notes.append(MIXED)
        try:
            self._plan(view, operation, self._db)
        except DBAPIError as error:
            view.refused = server_error(error).sentence
        except NotInstalled as error:
            view.refused = self._brought(error) or str(error)
        except PgoptError as error:
            view.refused = str(error)
        self.revisions[-1].parts.append(view)
        self._changed = self._changed or view.changes

    def _plan(self, view: OperationView, operation: Plannable, db: Catalog) -> None:
        plan = operation.make_plan(db)
        view.notes += plan.notes
        sure = True
        for step in plan.steps:
            seen = _view(step, db, sure=sure)
            sure = sure and seen.done is True
            view.steps.append(seen)
        view.tables = _tables(db, [lock for step in plan.steps for lock in step.locks if not lock.is_index])

    def _brought(self, error: NotInstalled) -> str | None:
        """Name the revision that brings what is missing, where it comes before."""
        for revision in self.revisions:
            if revision.database == self.database and any(
                isinstance(part, OperationView) and part.title == error.by for part in revision.parts
            ):
                return f"it needs what {error.by} brings in {revision.direction} {revision.id}"
        return None

    def _works_before(self, revision: RevisionView) -> bool:
        # what Alembic's autocommit_block() wrote is followed by a new BEGIN
        last = revision.parts[-1] if revision.parts else None
        return isinstance(last, SqlView) and not last.sql.endswith("BEGIN;")

    def _keep_sql(self) -> None:
        if text := self._take_sql():
            self.revisions[-1].parts.append(SqlView(text))
            self._changed = True

    def _take_sql(self) -> str:
        text = self.output.getvalue().strip()
        self.output.seek(0)
        self.output.truncate()
        return text


def _view(step: AnyStep, db: Catalog, *, sure: bool) -> StepView:
    locks = [str(lock) for lock in step.locks]
    if isinstance(step, DrainStep):
        return StepView(step.label, [render(step.take(1000))], locks, "nobody", done=None)
    if isinstance(step, BatchStep):
        if sure:
            # the server reads it, and looks whether this role may run it
            db.session.run(sql("explain {}", step.statement(verbatim("true"))))
        statement = render(step.statement(verbatim(f"<a range of {', '.join(step.key) or 'pages'}>")))
        return StepView(step.label, [statement], locks, "writers of the rows of one batch, for an instant", done=False)
    done = _done(step, db, sure=sure)
    return StepView(
        step.label,
        [render(statement) for statement in step.statements],
        locks,
        _blocks(step),
        done,
        _clears(step, db, sure=sure) if done is False else [],
    )


def _done(step: Step, db: Catalog, *, sure: bool) -> bool | None:
    """Whether a step is done already; what looks done may only look so before the steps that come first."""
    try:
        done = step.done is not None and step.done(db)
    except (PgoptError, DBAPIError):
        # it may ask about what the steps before it make
        if sure:
            raise
        return None
    return None if done and not sure else done


def _clears(step: Step, db: Catalog, *, sure: bool) -> list[str]:
    try:
        return [clearing.label for clearing in step.clear(db)] if step.clear else []
    except (PgoptError, DBAPIError):
        if sure:
            raise
        return []


def _blocks(step: Step) -> str:
    reads = any(_reads_wait(lock, step) for lock in step.locks)
    writes = any(lock.mode.blocks_writes for lock in step.locks if not lock.is_index)
    if not reads and not writes:
        return "nobody"
    who = "reads and writes" if reads else "writes"
    return f"{who}, {'for an instant' if step.transaction else 'as long as it runs'}"


def _reads_wait(lock: Lock, step: Step) -> bool:
    # whoever plans a query opens the indexes of its tables; one that is dropped concurrently is no longer used by then
    return lock.mode.blocks_reads and (not lock.is_index or (step.transaction and lock.mode is Mode.ACCESS_EXCLUSIVE))


def _tables(db: Catalog, locks: Sequence[Lock]) -> list[TableView]:
    names = dict.fromkeys(render(lock.ident) for lock in locks)
    rows = [db.session.row(query("size", relation=literal(name))) for name in names]
    return [TableView(*row) for row in rows if row is not None]
