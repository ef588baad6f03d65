"""What an undo takes back: the operations that a half-done revision has begun, and as many rows as its batches have set."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

from pgopt.errors import InvalidOperation, PgoptError
from pgopt.plan.step import BatchStep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Sequence

    from pgopt.plan.step import Plan
    from pgopt.server.catalog import Catalog

UNDOING = "pgopt_undoing"
"""The option by which `pgopt undo` says which revision's inverse it runs: its id and the inverse's direction."""
DONE = "pgopt_done"
"""The option by which it says what is to be taken back."""
LOOKING = "pgopt_looking"
"""The option by which it has operations put into a list, before any of them is carried out."""


class Undoable(Protocol):
    """As much of an operation as is asked when a revision is taken back."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def inverse(self) -> Undoable | None: ...  # noqa: D102
    @property
    def makes(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def fills(self) -> Hashable | None: ...  # noqa: D102
    def undoes(self, begun: Begun, back: Collection[str]) -> bool: ...  # noqa: D102
    def goes_with(self, columns: Collection[str]) -> bool: ...  # noqa: D102
    def make_plan(self, db: Catalog) -> Plan: ...  # noqa: D102


@dataclass(frozen=True)
class Begun:
    """An operation that a revision has begun."""

    title: str
    about: str
    """What it is about, by its full name: two tables of one name may be in two schemas."""
    text: str
    """As a migration says it."""
    names: tuple[str, ...] = ()
    """What it makes or takes away."""

    @classmethod
    def of(cls, operation: Undoable, about: str) -> Self:
        """Note an operation."""
        return cls(operation.title, about, operation.text, operation.names)

    def __str__(self) -> str:
        # names may hold what else would part them, and the database an encoding that has not all of theirs
        return json.dumps([self.title, self.about, self.text, self.names])

    @classmethod
    def read(cls, said: str) -> Self:
        """Read what was written down."""
        title, about, text, names = json.loads(said)
        return cls(title, about, text, tuple(names))


@dataclass(frozen=True)
class Filled:
    """How far the batches of a step came."""

    task: str
    ended: bool
    last: Sequence[str] | None
    """The last key of the rows that were done."""


@dataclass(frozen=True)
class Sent:
    """A plain statement."""

    said: str
    alone: bool
    """Whether it is committed by itself."""

    @property
    def is_data(self) -> bool:
        """Whether it changes rows, so that the server cannot tell whether it was done."""
        return _DATA.match(self.said) is not None


_DATA = re.compile(r"\s*(insert|update|delete|merge|truncate|copy|with|do|call)\b", re.IGNORECASE)


@dataclass
class Course:
    """What a revision does in one direction, in its order."""

    whole: bool = False
    """Whether it could be seen to its end, without carrying anything out."""
    seen: list[Undoable | Sent] = field(default_factory=list)

    @property
    def operations(self) -> Iterator[Undoable]:
        """The operations of ours."""
        return (each for each in self.seen if not isinstance(each, Sent))

    def filling(self, what: Hashable) -> list[Undoable]:
        """Give the operations that set the same columns."""
        return [each for each in self.operations if each.fills == what]

    def data(self) -> list[tuple[int, Sent]]:
        """Give the plain statements that change rows, each with its place."""
        return [(place, each) for place, each in enumerate(self.seen) if isinstance(each, Sent) and each.is_data]


@dataclass
class Done:
    """What a half-done revision has done, and what of it is taken back."""

    begun: Sequence[Begun]
    """Its operations."""
    again: Sequence[Begun]
    """Those of its undo, as far as that came before."""
    mixed: bool
    """Whether plain operations were committed with them."""
    batches: Sequence[Filled]
    """Its batches."""
    forth: Course = field(default_factory=Course)
    back: Course = field(default_factory=Course)
    columns: set[tuple[str | None, str]] = field(default_factory=set)
    """The columns that were made anew on the way back, each after its table's full name."""
    changed: bool = False
    """Whether something was taken back."""
    met: Counter[Any] = field(default_factory=Counter)
    """How many of a kind the inverse has come by."""

    @cached_property
    def _inverses(self) -> set[str]:
        """What operations of the inverse take back, word by word, and by title."""
        found = [each.inverse for each in self.back.operations]
        return {said for each in found if each is not None for said in (each.text, each.title)}

    def includes(self, operation: Undoable, about: str | None = None) -> bool:
        """Whether what an operation takes back has begun, on what it is about where that is known."""
        begun = [each for each in self.begun if about in (None, each.about)]
        columns = {name for whose, name in self.columns if None in (about, whose) or whose == about}
        return operation.goes_with(columns) and any(operation.undoes(each, self._inverses) for each in begun)

    def left(self) -> list[str]:
        """Give what no operation of the inverse takes back."""
        back = list(self.back.operations)
        return [
            each.title
            for each in self.begun
            if self.back.whole and each.names and not any(it.undoes(each, self._inverses) for it in back if it.inverse)
        ]

    # -- plain statements --------------------------------------------------------------------------------------------

    def has_lasted(self) -> bool | None:
        """Whether what the next statement of the inverse that changes rows takes back was done; nothing where that is not known."""
        number = self.met[Sent]
        self.met[Sent] += 1
        known = list(self._lasted())
        if self.forth.whole and self.back.whole and len(known) == len(self.back.data()):
            return known[-1 - number]
        return known[0] if self.forth.whole and known and len(set(known)) == 1 else None

    def _lasted(self) -> Iterator[bool | None]:
        texts = {each.text for each in self.begun}
        begun = [
            place for place, each in enumerate(self.forth.seen) if not isinstance(each, Sent) and each.text in texts
        ]
        for place, sent in self.forth.data():
            # each operation commits what came before it
            yield True if begun and place < begun[-1] else None if sent.alone or not begun else False

    # -- batches -----------------------------------------------------------------------------------------------------

    def so_far(self, operation: Undoable, db: Catalog, number: int) -> Plan | None:
        """Plan an operation for the rows that the one which it takes back has set: nothing where that has set none.

        It is the one of that number among those of the inverse that set the same columns.
        """
        if operation.fills is None or not self.batches:
            return None
        try:
            plan = operation.make_plan(db)
        except PgoptError:
            return None
        labels = tuple(f"{step.label} (" for step in plan.steps)
        found = [each for each in self.batches if each.task.startswith(labels)]
        if not found:
            return None
        forth, back = self.forth.filling(operation.fills), self.back.filling(operation.fills)
        if self.forth.whole and self.back.whole and len(forth) == len(back):
            tasks = list(_tasks(forth, db))
            if {each.task for each in found} <= {task for of_one in tasks for task in of_one.values()}:
                mine = tasks[-1 - number]
                return _limited(plan, lambda step: [each for each in found if each.task == mine.get(step.table.oid)])
        if len(back) == 1 and len(forth) <= 1:
            return _limited(plan, lambda step: [each for each in found if each.task.startswith(f"{step.label} (")])
        begun = {each.text for each in self.begun}
        if self.forth.whole and all(each.ended for each in found) and all(each.text in begun for each in forth):
            return plan
        raise _unknown(plan.title)


def _tasks(operations: Sequence[Undoable], db: Catalog) -> Iterator[dict[int, str]]:
    """Give for each operation the names under which its batches are kept, by table."""
    met: Counter[str] = Counter()
    for each in operations:
        steps = [step for step in each.make_plan(db).steps if isinstance(step, BatchStep)]
        yield {step.table.oid: told_apart(met, step.task) for step in steps}


def _limited(plan: Plan, filled_by: Callable[[BatchStep], Sequence[Filled]]) -> Plan | None:
    batches = [step for step in plan.steps if isinstance(step, BatchStep)]
    steps = [each for step in batches for each in _so_far(step, filled_by(step))]
    return replace(plan, steps=tuple(steps)) if steps else None


def _so_far(step: BatchStep, filled: Sequence[Filled]) -> Iterator[BatchStep]:
    if not filled:
        return
    if all(each.ended for each in filled):
        yield step
    elif len(filled) > 1 or not filled[0].task.startswith(f"{step.label} {step.by} "):
        raise _unknown(step.label)
    elif filled[0].last is not None:
        yield replace(step, until=filled[0].last)


def _unknown(what: str) -> InvalidOperation:
    return InvalidOperation(
        f"some rows were set before the interruption, and which cannot be told ({what}): finish the revision, and then take it back"
    )


def told_apart(met: Counter[str], name: str) -> str:
    """Name what a revision may do twice in the same words: run again, it does so in the same order."""
    met[name] += 1
    return name if met[name] == 1 else f"{name} for the {met[name]}. time"
