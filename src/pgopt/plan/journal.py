"""What the pgopt schema remembers of a run: half-done revisions and how far batches came.

Without the schema nothing is remembered; what could not be told without it is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from pgopt.errors import HalfDone, RunnerBusy
from pgopt.plan.revisions import DOWN, UP, Revision, below, chain_of, is_missing, stamped_revisions
from pgopt.plan.rights import journal, usable
from pgopt.plan.step import by_columns
from pgopt.plan.undoing import ENDED, UNDOING, Begun, Done, Filled, told_apart
from pgopt.server.quoting import joined, literal, render, sql, verbatim
from pgopt.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from alembic.runtime.migration import MigrationContext
    from psycopg.sql import Composable

    from pgopt.plan.undoing import Place, Undoable


class Unknown(Enum):
    """What nobody has asked the server yet."""

    UNKNOWN = "not asked"


OTHERS_WENT_ON = "another run has gone on with revision {} meanwhile, the other way: run again when that has ended"
UNKNOWN: Final = Unknown.UNKNOWN
Known = str | Unknown | None
"""What the server has answered to `Journal.runs`, if it was asked."""


@dataclass(frozen=True)
class Run:
    """A revision that was begun and is not stamped, as `pgopt.run` has it."""

    revision: Revision
    operation: str
    """At which operation it was seen last."""
    taken_back: bool
    """Whether an undo was the last to go on with it."""
    begun: Sequence[Begun | None]
    """Its operations in the order in which they were begun; where an undo has begun, and given up, there is nothing."""

    @property
    def since(self) -> Sequence[Begun]:
        """What was begun since the way last turned, the last one first."""
        return [each for each in takewhile(lambda each: each is not None, reversed(self.begun)) if each]

    def has_done(self, operation: Undoable, place: Place) -> bool:
        """Whether an operation came to its end in an earlier run, and nothing else tells so any more.

        What it made or took away is another's matter since; or it has set rows, and what it would be told by may have changed.
        """
        later = list(takewhile(lambda each: each.place != place, self.since))
        if len(later) == len(self.since) or not (found := self.since[len(later)]).ended:
            return False
        return operation.fills is not None or any(not set(found.names).isdisjoint(each.names) for each in later)

    def ended(self, operation: Undoable) -> Iterator[Begun]:
        """Give what was begun in the same words, and came to its end: what this one is about is not there to tell them apart."""
        return (each for each in self.since if each.ended and each.text == operation.text)

    @property
    def last(self) -> Begun | None:
        """The operation that was begun last, unless an undo has begun or given up since."""
        return self.begun[-1] if self.begun else None


class Journal:
    """The memory of one run in `pgopt.run` and `pgopt.progress`."""

    def __init__(
        self,
        session: Session,
        chain: str,
        revision: Revision | None,
        *,
        undoing: bool = False,
        context: MigrationContext | None = None,
        kin: str = "",
        number: int = 1,
        there: bool | Unknown | None = UNKNOWN,
    ) -> None:
        self.session = session
        self.chain = chain
        self.revision = revision
        self.undoing = undoing
        self.context = context
        self.kin = kin
        self.number = number
        self.installed = usable(session, session.value(sql("select {}", journal())) if there is UNKNOWN else there)

    @classmethod
    def of(
        cls,
        context: MigrationContext,
        revision: Revision | None,
        *,
        kin: str = "",
        number: int = 1,
        there: bool | Unknown | None = UNKNOWN,
    ) -> Journal:
        """Open the journal of the chain that Alembic is running, for the how-manieth of some operations that are alike."""
        session = Session(context.connection)  # type: ignore[arg-type]
        return cls(
            session,
            chain_of(context),
            revision,
            undoing=UNDOING in context.opts,
            context=context,
            kin=kin,
            number=number,
            there=there,
        )

    def check(self, runs: Known = UNKNOWN) -> None:
        """Refuse to go on past a half-done revision, or back over it; and with one whose undo was interrupted."""
        if self.undoing:
            return
        for run in self.half_done(runs, others=True):
            revision = run.revision
            if run.taken_back:
                raise HalfDone(
                    f"an undo of the {revision.direction} of revision {revision.id} was interrupted in {run.operation}: let"
                    f" `pgopt undo {revision.id}` come to its end, before anything else"
                )
            where = f"the {revision.direction} of revision {revision.id} was interrupted in {run.operation}"
            raise HalfDone(f"{where}{self._way_out(revision)}")

    def _way_out(self, revision: Revision) -> str:
        if self.context and is_missing(self.context, revision.id):
            return (
                ", and its file is gone: restore the file, then finish the revision or take it back; or do so by hand, then run"
                f" `delete from pgopt.run where {render(_row_of(revision))}`"
            )
        target = revision.id if revision.direction == UP else below(self.context, revision.id)
        return (
            f": finish it with `alembic {revision.direction} {target}`, or take it back with `pgopt undo {revision.id}`,"
            " before anything else"
        )

    @property
    def runs(self) -> Composable:
        """Ask for the revisions of the chain that were begun, as one value."""
        if not self.installed:
            return sql("null")
        return sql(
            "(select jsonb_agg(jsonb_build_array(revision, direction, operation, taken_back, begun) order by started_at)::text"
            " from pgopt.run where chain = {})",
            literal(self.chain),
        )

    def half_done(self, runs: Known = UNKNOWN, *, others: bool = False) -> list[Run]:
        """Give the revisions that were begun and not stamped, or those of them with which this run may not go on.

        One that somebody has stamped by hand is half-done no longer.
        """
        found = [each for each in self.read(runs) if not (others and self._may_go_on(each))]
        over = self._over([each.revision for each in found])
        return [each for each in found if each.revision not in over]

    def settle(self, runs: Known = UNKNOWN) -> None:
        """Forget what somebody has stamped by hand since it was half-done: how far its batches came is no longer true."""
        for revision in self._over([each.revision for each in self.read(runs) if not self._is_ours(each.revision)]):
            self.forget(revision.id, down=revision.direction == DOWN)

    def read(self, runs: Known = UNKNOWN) -> list[Run]:
        """Read what was answered, or ask."""
        if not self.installed:
            return []
        said = self.session.value(sql("select {}", self.runs)) if runs is UNKNOWN else runs
        return [
            Run(
                Revision(self.chain, revision, direction),
                operation,
                back,
                [each and Begun.read(each) for each in begun],
            )
            for revision, direction, operation, back, begun in json.loads(said or "[]")
        ]

    def ours(self, runs: Known = UNKNOWN) -> Run | None:
        """Give what is known of the revision that is running."""
        return next((each for each in self.read(runs) if self._is_ours(each.revision)), None)

    def _over(self, revisions: Sequence[Revision]) -> list[Revision]:
        """Give those that are stamped as they were to be."""
        if not revisions or self.context is None:
            return []
        stamped = stamped_revisions(self.context)
        return [each for each in revisions if (each.direction == UP) == (each.id in stamped)]

    def _is_ours(self, revision: Revision) -> bool:
        return revision == self.revision or (self.undoing and revision.opposite == self.revision)

    def _may_go_on(self, run: Run) -> bool:
        return self._is_ours(run.revision) and run.taken_back <= self.undoing

    def task(self, name: str) -> str:
        """Name what a revision may do twice in the same words."""
        return name if self.revision is None else told_apart(name, self.kin, self.number)

    def note_mixed(self, title: str) -> None:
        """Write down, in the transaction of plain work, that it is committed without the stamp: whatever comes of the operation."""
        if not self.installed or self.revision is None or self.undoing:
            return
        self.session.run(
            sql(
                "with stale as (delete from pgopt.progress where {where} and not exists (select from pgopt.run where {where}))"
                " insert into pgopt.run as run (chain, revision, direction, operation, begun, mixed) values ({values}, '{{}}', true)"
                " on conflict (chain, revision) do update set mixed = true",
                where=_row_of(self.revision),
                values=joined(
                    map(literal, (self.revision.chain, self.revision.id, self.revision.direction, title)),
                ),
            )
        )

    def begin(self, operation: Begun, *, mixed: bool, ended: Collection[Begun] = ()) -> bool:
        """Write down that the revision has begun an operation, and whether what it did before that is committed with it.

        Those before it in this run have ended. Tell whether that is new.
        """
        if not self.installed or self.revision is None:
            return False
        revision = self.revision
        # an undo that is interrupted leaves the revision half-done in the direction in which it was
        direction = revision.opposite.direction if self.undoing else revision.direction
        # the commit does not wait for the disk: that of the first thing that lasts will, and takes this one along
        known = self.session.change(
            sql(
                "with unhurried as materialized (select set_config('synchronous_commit', 'off', true)),"
                " before as (select {this_way} as begun from pgopt.run where {where}),"
                # of a run that somebody has taken out of the journal
                " stale as (delete from pgopt.progress where {where} and not exists (select from before))"
                " insert into pgopt.run as run (chain, revision, direction, operation, begun, mixed, taken_back)"
                " select {chain}, {id}, {direction}, {operation}, array[{begun}], {mixed}, {back} from unhurried"
                " on conflict (chain, revision) do update"
                " set direction = excluded.direction, operation = excluded.operation, seen_at = now(), taken_back = excluded.taken_back,"
                " begun = {earlier} || array(select case when said = any({ended}) then {mark} || said else said end"
                " from unnest({this_way}) with ordinality each (said, place) where said not in ({begun}, {mark} || {begun}) order by place)"
                " || excluded.begun, mixed = run.mixed or excluded.mixed"
                " returning coalesce((select array[{begun}, {mark} || {begun}] && begun from before), false)",
                ended=literal([str(each) for each in ended]),
                mark=literal(ENDED),
                earlier=verbatim(_EARLIER),
                this_way=verbatim(_THIS_WAY),
                where=_row_of(revision),
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
        if self.revision is None:
            return
        alone = sql("(not mixed and not {} and begun = array[{}])", literal(self.undoing), literal(str(operation)))
        self.session.run(
            sql(
                "with rest as (update pgopt.run set begun = {earlier} || array_remove({this_way}, {begun}) where {where} and not {alone})"
                " delete from pgopt.run where {where} and {alone}",
                earlier=verbatim(_EARLIER),
                this_way=verbatim(_THIS_WAY),
                begun=literal(str(operation)),
                where=_row_of(self.revision),
                alone=alone,
            )
        )

    def take_back(self) -> bool:
        """Let a run of the revision that may still be at work know that it is being taken back, and tell whether that is new."""
        if not self.installed or self.revision is None:
            return False
        with self.session.autocommit():
            return bool(
                self.session.count(
                    sql(
                        "update pgopt.run set taken_back = true, begun = {} where {} and not taken_back",
                        verbatim(_TURN),
                        _row_of(self.revision),
                    )
                )
            )

    def give_up(self) -> None:
        """Let an undo that has failed be followed by the revision, too."""
        if not self.installed or self.revision is None:
            return
        with self.session.autocommit():
            self.session.run(
                sql(
                    "update pgopt.run set taken_back = false, begun = {} where {} and taken_back",
                    verbatim(_TURN),
                    _row_of(self.revision),
                )
            )

    def done_by(self, revision: Revision) -> Done | None:
        """Tell what a half-done revision has done, where that was written down."""
        if not self.installed:
            return None
        row = self.session.row(sql("select begun, mixed from pgopt.run where {}", _row_of(revision)))
        if row is None:
            return None
        batches = self.session.rows(
            sql(
                "select task, key, finished_at is not null, last_key from pgopt.progress where {} and direction = {}",
                _row_of(revision),
                literal(revision.direction),
            )
        )
        begun: list[Begun] = []
        again: list[Begun] = []
        of_undo = False
        for each in row[0]:
            if each is None:
                of_undo = not of_undo
            else:
                (again if of_undo else begun).append(Begun.read(each))
        return Done(begun, again, row[1], [Filled(*each) for each in batches])

    def forget(self, revision: str, *, down: bool, known: bool = False, last: Begun | None = None) -> list[str]:
        """Forget a revision; done in the transaction that stamps it. Give what its batches had begun and not finished.

        What was there before it is kept until it is taken back. Where it was known to be begun, with one operation last, that must
        be so still: nobody else may have gone on with it.
        """
        if not self.installed:
            return []
        where = _row_of(Revision(self.chain, revision, DOWN))
        still = [sql("taken_back = {}", literal(self.undoing))] if known else []
        if last is not None:
            said = literal(str(last))
            still.append(sql("begun[cardinality(begun)] in ({}, {} || {})", said, literal(ENDED), said))
        said = self.session.change(
            sql(
                "with progress as (delete from pgopt.progress where {where} returning task, key, finished_at),"
                " undo as (delete from pgopt.undo where {down} and {where}),"
                " run as (delete from pgopt.run where {still} returning revision)"
                " select jsonb_build_array((select count(*) from run),"
                " (select jsonb_agg(jsonb_build_array(task, key)) from progress where finished_at is null))::text",
                where=where,
                down=literal(down),
                still=joined([where, *still], " and "),
            )
        )
        found, unfinished = json.loads(said)
        if known and not found:
            raise RunnerBusy(OTHERS_WENT_ON.format(revision))
        return [task.rpartition(f" {by_columns(key)} ")[0] for task, key in unfinished or []]


_TURN = (
    "case when begun[cardinality(begun)] is null then begun[:cardinality(begun) - 1] else array_append(begun, null) end"
)
"""Writes down where the way turns; where nothing was begun since it last did, it goes on from there."""
_LAST_TURN = (
    "(select coalesce(max(place), 0) from generate_subscripts(run.begun, 1) place where run.begun[place] is null)"
)
_EARLIER = f"run.begun[:{_LAST_TURN}]"
_THIS_WAY = f"run.begun[{_LAST_TURN} + 1:]"
"""What was begun since the way last turned: an undo may say an operation in the words of what it takes back."""


def _row_of(revision: Revision) -> Composable:
    return sql("(chain, revision) = ({}, {})", literal(revision.chain), literal(revision.id))
