"""What an undo takes back: the operations that a half-done revision has begun, and as many rows as its batches have set."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from pgopt.errors import InvalidOperation, PgoptError
from pgopt.plan.step import BatchStep, by_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from pgopt.plan.step import AnyStep, Plan
    from pgopt.server.catalog import Catalog

UNDOING = "pgopt_undoing"
"""The option by which `pgopt undo` says which revision's inverse it runs: its id and the inverse's direction."""
ENDED = "+"
"""Stands before an operation that has come to its end, as it is written down."""
DONE = "pgopt_done"
"""The option by which it says what is to be taken back."""
LOOKING = "pgopt_looking"
"""The option by which it has operations noted, before any of them is carried out."""
MOST = 10_000
"""What a revision may do, before it is said to go on for ever: one that waits for its own work does, where nothing is carried out."""


class Fills(NamedTuple):
    """Which columns of which rows an operation sets."""

    columns: frozenset[str]
    where: str | None


class Undoable(Protocol):
    """As much of an operation as is asked when a revision is taken back."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def kin(self) -> str: ...  # noqa: D102
    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def is_told_by_name(self) -> bool: ...  # noqa: D102
    @property
    def lasts(self) -> bool: ...  # noqa: D102
    @property
    def inverse(self) -> Undoable | None: ...  # noqa: D102
    @property
    def makes(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def fills(self) -> Fills | None: ...  # noqa: D102
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
    """What it makes or takes away, each after that in which there is one of that name."""
    number: int = 1
    """The how-manieth of its kin on that it is in its revision."""
    lasts: bool = False
    """Whether it brings something about that may be taken back."""
    inverse: str | None = None
    """The title of what takes it back, if that can be told."""
    ended: bool = field(default=False, compare=False)
    """Whether it is known to have come to its end."""

    @classmethod
    def of(cls, operation: Undoable, about: str, number: int = 1) -> Self:
        """Note an operation."""
        # the names of indexes are those of the schema
        scope = schema_of(about) if operation.is_told_by_name else about
        names = tuple(f"{scope} {name}" for name in operation.names)
        inverse = operation.inverse
        title = inverse.title if inverse is not None else None
        return cls(operation.title, about, operation.text, names, number, operation.lasts, title)

    def __str__(self) -> str:
        # names may hold what else would part them, and the database an encoding that has not all of theirs
        return json.dumps([self.title, self.about, self.text, self.names, self.number, self.lasts, self.inverse])

    @classmethod
    def read(cls, said: str) -> Self:
        """Read what was written down."""
        title, about, text, names, number, lasts, inverse = json.loads(said.removeprefix(ENDED))
        return cls(title, about, text, tuple(names), number, lasts, inverse, ended=said.startswith(ENDED))

    @property
    def place(self) -> Place:
        """Which operation of its revision it is."""
        return Place(self.text, self.about, self.number)


def schema_of(name: str) -> str:
    """Give the schema of a full name, as the server quotes it."""
    found = re.match(r'("(?:[^"]|"")*"|[^."]*)\.', name)
    return found[1] if found else ""


class Place(NamedTuple):
    """An operation by its own text, what it is about, and how many of its kin on that come before it.

    A loop over tenants may say the same of each, and there may be another one first in the next run.
    """

    text: str
    about: str
    number: int


@dataclass(frozen=True)
class Filled:
    """How far the batches of a step came."""

    task: str
    key: Sequence[str]
    """The columns by which they went."""
    ended: bool
    last: Sequence[str] | None
    """The last key of the rows that were done."""

    @property
    def work(self) -> str:
        """What they do, by whatever key."""
        return work_of(self.task, self.key)


def work_of(task: str, key: Sequence[str]) -> str:
    """Name what the batches of a task do, by whatever key."""
    label, by, rest = task.rpartition(f" {by_columns(key)} ")
    return f"{label} {rest}" if by else task


def is_data(statement: str) -> bool:
    """Whether a plain statement may change rows, so that the server cannot tell whether it was done."""
    statements = _NO_WORDS.sub(" ", statement).split(";")
    return any(each.strip() and not _DEFINES.match(each) for each in statements)


# a comment, a string, a name in quotes
_NO_WORDS = re.compile(
    r"--[^\n]*|/\*.*?\*/|\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?<![\w$])(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)",
    re.DOTALL,
)
_DEFINES = re.compile(
    r"\s*(create|alter|drop|comment|grant|revoke|security|reassign|set|reset|analyze|vacuum|reindex|cluster|refresh|lock|notify)\b",
    re.IGNORECASE,
)


@dataclass
class Course:
    """What a revision does in one direction, in its order."""

    whole: bool = False
    """Whether it could be seen to its end, without carrying anything out."""
    seen: list[tuple[Undoable, Place] | str] = field(default_factory=list)
    """Operations of ours, each with how it is told from others, and plain statements."""
    fillings: list[Filling] = field(default_factory=list)
    """Those that only set columns, as they would be carried out now."""
    met: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many of a kin it has come by, about what."""

    def look_at(self, operation: Undoable, about: str, db: Catalog) -> None:
        """Note an operation: what it is about, and whose rows it would set, hangs on what comes before it."""
        self.met[operation.kin, about] += 1
        place = Place(operation.text, about, self.met[operation.kin, about])
        self.note((operation, place))
        if (filling := Filling.of(operation, place, db)) is not None:
            self.fillings.append(filling)

    def note(self, what: tuple[Undoable, Place] | str) -> None:
        """Note what would be done."""
        if len(self.seen) == MOST:
            raise InvalidOperation(
                "with nothing carried out, it does not come to its end, as a loop that waits for its own work: stopped after"
                f" {MOST:,} statements"
            )
        self.seen.append(what)

    @property
    def placed(self) -> list[tuple[Undoable, Place]]:
        """The operations of ours."""
        return [each for each in self.seen if not isinstance(each, str)]

    @property
    def operations(self) -> Iterator[Undoable]:
        """The same without how they are told apart."""
        return (each for each, _ in self.placed)


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
    taken_back: set[Place] = field(default_factory=set)
    """The backfills of which something was taken back, or of which there was nothing."""

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

    def take_note(self, operation: Undoable, begun: Begun, *, changed: bool) -> None:
        """Keep in mind what came of an operation of the inverse."""
        self.changed |= changed
        if changed or begun in self.again:
            self.columns.update((begun.about, name) for name in operation.makes)

    @property
    def needs_its_order(self) -> bool:
        """Whether the revision could not go on where something was taken back: how far it came is told by the journal alone.

        It has batches, or a name serves twice.
        """
        names = [name for each in self.begun for name in set(each.names)]
        return bool(self.batches) or len(names) > len(set(names))

    def left(self) -> list[str]:
        """Give what no operation of the inverse takes back."""
        if not self.back.whole:
            return []
        back = list(self.back.operations)
        gone = {name for each in back for name in each.names}
        seen = {place for _, place in self.forth.placed}
        filled = {
            place
            for each, place in self.forth.placed
            if each.fills and place not in self.taken_back and gone.isdisjoint(each.fills.columns)
        }
        return [
            each.title
            for each in dict.fromkeys(self.begun)
            if each.place in filled
            or not (each.lasts or each.place in seen)
            or (each.lasts and not any(it.undoes(each, self._inverses) for it in back if it.lasts))
        ]

    def has_passed(self, operation: Begun, since: Iterable[Begun]) -> bool:
        """Whether an undo that was interrupted had come past an operation: a later one has something to do with its names."""
        places = [each for _, each in self.back.placed]
        later = places[places.index(operation.place) + 1 :] if operation.place in places else ()
        return any(each.place in later and not set(operation.names).isdisjoint(each.names) for each in since)

    # -- batches -----------------------------------------------------------------------------------------------------

    def so_far(self, mine: Filling | None) -> Plan | None:
        """Plan an operation for the rows that those which it takes back have set: nothing where they have set none."""
        if mine is None:
            return None
        forth, back = _that_meet(mine, self.forth.fillings, self.back.fillings)
        if not self.batches or any(each.ended and each.place == mine.place for each in self.again):
            # nothing was set, or an undo that was interrupted later has set it back
            self.taken_back.update(each.place for each in forth)
            return None
        begun = [each for each in forth if self._has_begun(each)]
        whole = self.forth.whole and self.back.whole
        if self._is_strange(mine):
            if not (whole and begun and len(forth) == 1 and self._has_ended(forth[0])):
                raise _unknown(mine.plan.title)
            # other tables have its rows since
            self.taken_back.add(forth[0].place)
            return mine.plan
        if not begun:
            return None
        pair = forth[0] if whole and len(forth) == 1 else _pair_of(mine, forth, back, whole=whole)
        if pair is not None:
            self.taken_back.add(pair.place)
            return _limited(mine, pair, self.batches)
        if not (whole and len(begun) >= len(forth) and all(map(self._has_ended, forth))):
            raise _unknown(mine.plan.title)
        self.taken_back.update(each.place for each in forth)
        return mine.plan

    def _is_strange(self, mine: Filling) -> bool:
        """Whether there are batches that nothing in the revision, as it was looked at, would have."""
        known = {task for each in self.forth.fillings for task in each.tasks.values()}
        return any(each.work not in known and each.task.startswith(mine.kind_of_work) for each in self.batches)

    def _has_begun(self, filling: Filling) -> bool:
        """Whether it was begun, as is written down, or has batches."""
        return any(each.place == filling.place for each in self.begun) or any(
            each.work in filling.tasks.values() for each in self.batches
        )

    def _has_ended(self, filling: Filling) -> bool:
        """Whether it came to its end, as is written down, or all its batches say so."""
        ended = {each.work for each in self.batches if each.ended}
        return ended.issuperset(filling.tasks.values()) or any(
            each.ended and each.place == filling.place for each in self.begun
        )


@dataclass(frozen=True)
class Filling:
    """An operation that only sets columns, planned."""

    place: Place
    fills: Fills
    kin: str
    plan: Plan
    tasks: dict[int, str]
    """What its batches do, for each table."""

    @classmethod
    def of(cls, operation: Undoable, place: Place, db: Catalog) -> Self | None:
        """Plan it; nothing where it is none, or cannot be planned as things are."""
        if operation.fills is None:
            return None
        try:
            plan = operation.make_plan(db)
        except PgoptError:
            return None
        tasks = {
            step.table.oid: told_apart(f"{step.label} {step.digest}", operation.kin, place.number)
            for step in _batches(plan.steps)
        }
        return cls(place, operation.fills, operation.kin, plan, tasks)

    @property
    def steps(self) -> list[BatchStep]:
        """Its batches."""
        return _batches(self.plan.steps)

    @property
    def kind_of_work(self) -> str:
        """How what its batches are called begins, whatever the table is."""
        return self.steps[0].label.rpartition(" of ")[0] if self.steps else self.plan.title

    def meets(self, other: Filling) -> bool:
        """Whether both set a column of one table, which may have become partitioned in between, or a plain one."""
        same = self.place.about == other.place.about or not self.tasks.keys().isdisjoint(other.tasks)
        return same and not self.fills.columns.isdisjoint(other.fills.columns)


def _batches(steps: Iterable[AnyStep]) -> list[BatchStep]:
    return [step for step in steps if isinstance(step, BatchStep)]


def _that_meet(
    mine: Filling, forth: Sequence[Filling], back: Sequence[Filling]
) -> tuple[Sequence[Filling], Sequence[Filling]]:
    """Give those of both ways that set the same columns, and those that set a column with one of them, and so on."""
    group: tuple[list[Filling], list[Filling]] = [], [mine]
    while True:
        there = [each for each in forth if any(each.meets(other) for other in group[1])]
        again = [each for each in back if any(each.meets(other) for other in there)] or [mine]
        if (len(there), len(again)) == (len(group[0]), len(group[1])):
            return there, again
        group = there, again


def _pair_of(mine: Filling, forth: Sequence[Filling], back: Sequence[Filling], *, whole: bool) -> Filling | None:
    """Give the one that sets the same columns of the same rows; of some that are alike, the last for the first."""
    if whole and Counter(each.fills for each in forth) != Counter(each.fills for each in back):
        return None
    there = [each for each in forth if each.fills == mine.fills]
    again = [each for each in back if each.fills == mine.fills]
    alike = len({each.kin for each in there}) == len({each.kin for each in again}) == 1
    places = [each.place for each in again]
    if not alike or mine.place not in places or len(there) != len(again) or (len(there) > 1 and not whole):
        return None
    return there[-1 - places.index(mine.place)]


def _limited(mine: Filling, pair: Filling, batches: Sequence[Filled]) -> Plan | None:
    """Plan it as far as the one came which it takes back."""
    found = {each.work: each for each in batches}
    steps = [each for step in mine.steps for each in _so_far(step, found.get(pair.tasks.get(step.table.oid, "")))]
    return replace(mine.plan, steps=tuple(steps)) if steps else None


def _so_far(step: BatchStep, filled: Filled | None) -> Iterator[BatchStep]:
    if filled is None:
        return
    if filled.ended:
        yield step
    elif filled.last is not None:
        yield replace(step, key=tuple(filled.key), until=filled.last)


def _unknown(what: str) -> InvalidOperation:
    return InvalidOperation(
        f"some rows were set before the interruption, but it is not known which ({what}): finish the revision, then take it back"
    )


def told_apart(name: str, kin: str, number: int) -> str:
    """Name what a revision may do twice in the same words: run again, it does so in the same order."""
    name = f"{name}.{hashlib.blake2b(kin.encode(), digest_size=4).hexdigest()}"
    return name if number == 1 else f"{name} for the {number}. time"
