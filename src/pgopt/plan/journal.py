"""What the pgopt schema remembers of a run: half-done revisions and how far batches came.

Without the schema nothing is remembered, and nothing is refused.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from pgopt.errors import HalfDone, RunnerBusy
from pgopt.plan.rights import journal, usable
from pgopt.server.quoting import literal, render, sql
from pgopt.server.session import Session
from pgopt.server.undo import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from psycopg.sql import Composable


ColumnNamed = tuple[str, str]
"""A column, after its table, as a migration names both."""


class Undoable(Protocol):
    """As much of an operation as is asked when a revision is taken back."""

    def undoes(self, title: str, made: Collection[ColumnNamed]) -> bool: ...  # noqa: D102


Rows = list[list[str]] | None
"""The revisions that were begun, each with its direction, operation, and whether an undo has gone on with it."""


class Unknown(Enum):
    """What nobody has asked the server yet."""

    UNKNOWN = "not asked"


OTHERS_WENT_ON = "another run has gone on with revision {} meanwhile, the other way: run again when that has ended"
UNKNOWN: Final = Unknown.UNKNOWN
UP, DOWN = "upgrade", "downgrade"
TAKEN_BACK = "taken back"
"""The direction of batches that an undo has begun to take back."""
UNDOING = "pgopt_undoing"
"""The option by which `pgopt undo` says which revision's inverse it runs: its id and the inverse's direction."""
DONE = "pgopt_done"
"""The option by which it says what is to be taken back."""


@dataclass(frozen=True)
class Revision:
    """A revision on its way up or down, in the chain of one version table."""

    chain: str
    id: str
    direction: str

    @property
    def opposite(self) -> Revision:
        """The same revision the other way."""
        return Revision(self.chain, self.id, DOWN if self.direction == UP else UP)


@dataclass(frozen=True)
class Begun:
    """An operation that a revision has begun."""

    title: str
    about: str
    """What it is about, by its full name: two tables of one name may be in two schemas."""

    def __str__(self) -> str:
        # names may hold what else would part the two, and the database an encoding that has not all of theirs
        return json.dumps([self.title, self.about])

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what was written down."""
        return cls(*json.loads(text))


@dataclass
class Done:
    """What a half-done revision has done, and what of it is taken back."""

    begun: tuple[Begun, ...]
    """Its operations."""
    mixed: bool
    """Whether plain operations were committed with them."""
    batches: Mapping[str, bool]
    """Its batches, and whether they came to their end."""
    columns: set[ColumnNamed] = field(default_factory=set)
    """The columns that were made anew on the way back."""

    def includes(self, operation: Undoable, about: str | None = None) -> bool:
        """Whether what an operation takes back has begun, on what it is about where that is known."""
        return any(operation.undoes(each.title, self.columns) for each in self.begun if about in (None, each.about))


def chain_of(context: MigrationContext) -> str:
    """Name the chain of revisions by its version table.

    Where env.py goes through schemas by the search path, each has a version table of its own.
    """
    schema = context.version_table_schema
    if schema is None and not context.as_sql and context.dialect.default_schema_name != "public":
        schema = context.dialect.default_schema_name
    return f"{schema}.{context.version_table}" if schema else context.version_table


def current_revision(context: MigrationContext) -> Revision | None:
    """Tell which revision Alembic is running.

    Alembic hands the step to nobody but its own loop, so it is read there.
    """
    if (undoing := context.opts.get(UNDOING)) is not None:
        return Revision(chain_of(context), *undoing)
    return revision_of(context, _loop().get("step"))


def known_heads(context: MigrationContext) -> set[str] | None:
    """Give the heads that Alembic has seen and made, where it runs revisions."""
    maintainer = _loop().get("head_maintainer")
    return set(maintainer.heads) if maintainer is not None and UNDOING not in context.opts else None


def memory_of(revision: Revision | None) -> Memory:
    """Give the place where a revision writes down what was there."""
    return Memory(revision.chain, revision.id, revision.direction == DOWN) if revision else Memory()


def is_first(context: MigrationContext) -> bool:
    """Tell whether Alembic is running the first revision of its run."""
    names = _loop()
    return (
        UNDOING in context.opts or names.get("heads") is None or set(names["heads"]) == names["head_maintainer"].heads
    )


def handed_over() -> dict[str, Any]:
    """Give what env.py hands to each revision: the name of the engine, where there are several databases."""
    return dict(_loop().get("kw", {}))


def _loop() -> dict[str, Any]:
    """Give the variables of the loop in which Alembic runs revisions, where we are called by it."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is MigrationContext.run_migrations.__code__:
            return frame.f_locals
    return {}


def revision_of(context: MigrationContext, step: Any) -> Revision | None:
    """Read a step of Alembic; stamps are not revisions."""
    script = getattr(step, "revision", None)
    if script is None:
        return None
    return Revision(chain_of(context), script.revision, UP if step.is_upgrade else DOWN)


def stamped_revisions(context: MigrationContext) -> set[str]:
    """Give the revisions that the version table says are done."""
    heads = context.get_current_heads()
    if context.script is None or not heads:
        return set(heads)
    return {script.revision for script in context.script.walk_revisions("base", heads)}  # type: ignore[arg-type]


def is_missing(context: MigrationContext, revision: str) -> bool:
    """Whether the file of a revision is gone."""
    try:
        return context.script is not None and context.script.get_revision(revision) is None
    except CommandError:
        return True


class Journal:
    """The memory of one run in `pgopt.run` and `pgopt.progress`."""

    def __init__(
        self,
        session: Session,
        chain: str,
        revision: Revision | None,
        *,
        undoing: bool = False,
        stamped: Callable[[], set[str]] | None = None,
        missing: Callable[[str], bool] | None = None,
        tasks: Counter[str] | None = None,
        there: bool | Unknown | None = UNKNOWN,
    ) -> None:
        self.session = session
        self.chain = chain
        self.revision = revision
        self.undoing = undoing
        self.stamped = stamped
        self.missing = missing
        self.tasks = Counter() if tasks is None else tasks
        self.installed = usable(session, session.value(sql("select {}", journal())) if there is UNKNOWN else there)

    @classmethod
    def of(
        cls,
        context: MigrationContext,
        revision: Revision | None,
        *,
        tasks: Counter[str] | None = None,
        there: bool | Unknown | None = UNKNOWN,
    ) -> Journal:
        """Open the journal of the chain that Alembic is running; it counts on what the revision has done so far."""
        session = Session(context.connection)  # type: ignore[arg-type]
        return cls(
            session,
            chain_of(context),
            revision,
            undoing=UNDOING in context.opts,
            stamped=partial(stamped_revisions, context),
            missing=partial(is_missing, context),
            tasks=tasks,
            there=there,
        )

    def check(self, begun: Rows | Unknown = UNKNOWN) -> None:
        """Refuse to go on past a half-done revision, or back over it; each may be taken back."""
        if self.undoing:
            return
        for revision, operation in self.half_done(begun, others=True):
            where = f"the {revision.direction} of revision {revision.id} was interrupted in {operation}"
            raise HalfDone(f"{where}{self._way_out(revision)}")

    def _way_out(self, revision: Revision) -> str:
        if self.missing and self.missing(revision.id):
            row = sql("(chain, revision) = ({}, {})", literal(revision.chain), literal(revision.id))
            return (
                ", and its file is gone: bring that back, to finish it or to take it back, or do so by hand and say"
                f" `delete from pgopt.run where {render(row)}`"
            )
        target = revision.id if revision.direction == UP else f"{revision.id}-1"
        return (
            f": finish it with `alembic {revision.direction} {target}`, or take it back with `pgopt undo {revision.id}`,"
            " before anything else"
        )

    @property
    def begun(self) -> Composable:
        """Ask for the revisions of the chain that were begun, as one value."""
        if not self.installed:
            return sql("null")
        return sql(
            "(select array_agg(array[revision, direction, operation, taken_back::text] order by started_at) from pgopt.run where chain = {})",
            literal(self.chain),
        )

    def half_done(self, begun: Rows | Unknown = UNKNOWN, *, others: bool = False) -> list[tuple[Revision, str]]:
        """Give the revisions that were begun and not stamped, or the others than ours, with the operation at which each was.

        One that somebody has stamped by hand is half-done no longer.
        """
        found = [each for each in self._known(begun) if not (others and self._is_ours(each[0]))]
        over = self._over([revision for revision, _ in found])
        return [each for each in found if each[0] not in over]

    def settle(self, begun: Rows | Unknown = UNKNOWN) -> None:
        """Forget what somebody has stamped by hand since it was half-done: how far its batches came is no longer true."""
        for revision in self._over([each for each, _ in self._known(begun) if not self._is_ours(each)]):
            self.forget(revision.id, down=revision.direction == DOWN)

    def _known(self, begun: Rows | Unknown) -> list[tuple[Revision, str]]:
        if not self.installed:
            return []
        rows = (self.session.value(sql("select {}", self.begun)) if begun is UNKNOWN else begun) or ()
        return [(Revision(self.chain, revision, direction), operation) for revision, direction, operation, _ in rows]

    def _over(self, revisions: Sequence[Revision]) -> list[Revision]:
        """Give those that are stamped as they were to be."""
        if not revisions or self.stamped is None:
            return []
        stamped = self.stamped()
        return [each for each in revisions if (each.direction == UP) == (each.id in stamped)]

    def _is_ours(self, revision: Revision) -> bool:
        return revision == self.revision or (self.undoing and revision.opposite == self.revision)

    def is_ours_still(self, begun: Rows) -> bool:
        """Whether nobody has taken back meanwhile what this run has begun."""
        ours = self.revision is not None and [self.revision.id, str(self.undoing).lower()]
        return not self.installed or any([revision, back] == ours for revision, _, _, back in begun or ())

    def task(self, name: str) -> str:
        """Name what a revision may do twice in the same words: run again, it does so in the same order."""
        if self.revision is None:
            return name
        self.tasks[name] += 1
        return name if self.tasks[name] == 1 else f"{name} for the {self.tasks[name]}. time"

    def begin(self, operation: Begun, *, mixed: bool) -> bool:
        """Write down that the revision has begun an operation, and whether what it did before that is committed with it.

        Tell whether that is new.
        """
        if not self.installed or self.revision is None:
            return False
        revision = self.revision
        # an undo that is interrupted leaves the revision half-done in the direction in which it was
        direction = revision.opposite.direction if self.undoing else revision.direction
        # the commit does not wait for the disk: that of the first thing that lasts will, and takes this one along
        known = self.session.change(
            sql(
                "with unhurried as materialized (select set_config('synchronous_commit', 'off', true)), other_way as ({other_way}),"
                " before as (select begun from pgopt.run where chain = {chain} and revision = {id})"
                " insert into pgopt.run as run (chain, revision, direction, operation, begun, mixed, taken_back)"
                " select {chain}, {id}, {direction}, {operation}, array[{begun}], {mixed}, {back} from unhurried"
                " on conflict (chain, revision) do update"
                " set direction = excluded.direction, operation = excluded.operation, seen_at = now(), taken_back = excluded.taken_back,"
                " begun = array_remove(run.begun, {begun}) || excluded.begun, mixed = run.mixed or excluded.mixed"
                " returning coalesce((select {begun} = any(begun) from before), false)",
                other_way=self._forget_other_way(revision),
                chain=literal(self.chain),
                id=literal(revision.id),
                direction=literal(direction),
                operation=literal(operation.title),
                begun=literal(str(operation)),
                mixed=literal(mixed),
                back=literal(self.undoing),
            )
        )
        return not known

    def never_mind(self, operation: Begun) -> None:
        """Forget that an operation was begun of which nothing was done."""
        if self.revision is None or self.undoing:
            return
        where = sql("(chain, revision) = ({}, {})", literal(self.chain), literal(self.revision.id))
        self.session.run(
            sql(
                "with rest as (update pgopt.run set begun = array_remove(begun, {begun}) where {where} and (mixed or begun <> array[{begun}]))"
                " delete from pgopt.run where {where} and not mixed and begun = array[{begun}]",
                begun=literal(str(operation)),
                where=where,
            )
        )

    def take_back(self) -> None:
        """Let a run of the revision that may still be at work know that it is being taken back."""
        if self.installed and self.revision is not None:
            with self.session.autocommit():
                where = sql("(chain, revision) = ({}, {})", literal(self.chain), literal(self.revision.id))
                self.session.run(sql("update pgopt.run set taken_back = true where {}", where))

    def turn(self) -> None:
        """Forget how far batches came the other way, before anything of them is taken back."""
        if self.installed and self.revision is not None:
            self.session.run(self._forget_other_way(self.revision))

    def _forget_other_way(self, revision: Revision) -> Composable:
        """Let batches of the other way begin anew; an undo that is run again must know still which there were."""
        where = sql(
            "chain = {} and revision = {} and direction <> {}",
            *map(literal, (self.chain, revision.id, revision.direction)),
        )
        if self.undoing:
            return sql("update pgopt.progress set direction = {} where {}", literal(TAKEN_BACK), where)
        return sql("delete from pgopt.progress where {}", where)

    def done_by(self, revision: Revision) -> Done | None:
        """Tell what a half-done revision has done, where that was written down."""
        if not self.installed:
            return None
        where = sql("(chain, revision) = ({}, {})", literal(revision.chain), literal(revision.id))
        row = self.session.row(sql("select begun, mixed from pgopt.run where {}", where))
        if row is None:
            return None
        # those of an undo that was interrupted go on
        batches = self.session.rows(
            sql(
                "select task, bool_and(direction = {} or finished_at is not null) from pgopt.progress where {} group by task",
                literal(revision.opposite.direction),
                where,
            )
        )
        return Done(tuple(map(Begun.read, row[0])), row[1], dict(map(tuple, batches)))

    def forget(self, revision: str, *, down: bool, begun: bool = False) -> None:
        """Forget a revision; done in the transaction that stamps it.

        What was there before it is kept until it is taken back. One that was begun must be there still, and nobody else may have
        gone on with it.
        """
        if not self.installed:
            return
        found = self.session.count(
            sql(
                "with progress as (delete from pgopt.progress where chain = {chain} and revision = {revision}),"
                " undo as (delete from pgopt.undo where {down} and chain = {chain} and revision = {revision})"
                " delete from pgopt.run where chain = {chain} and revision = {revision} and (taken_back = {undoing} or not {begun})",
                chain=literal(self.chain),
                revision=literal(revision),
                down=literal(down),
                undoing=literal(self.undoing),
                begun=literal(begun),
            )
        )
        if begun and not found:
            raise RunnerBusy(OTHERS_WENT_ON.format(revision))
