"""What an operation is: a frozen dataclass that Alembic knows, with an inverse and a plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, dataclass_transform

from alembic.operations import MigrateOperation, Operations

from pgopt.directives import kinds, register
from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations.arguments import refuse_arguments, refuse_types
from pgopt.operations.expressions import text_of
from pgopt.operations.kinds import KINDS
from pgopt.server.objects import TableNamed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from pgopt.plan.step import AnyStep, Plan
    from pgopt.plan.undoing import Begun, Fills
    from pgopt.server.catalog import Catalog

OperationT = TypeVar("OperationT", bound="type[Operation]")
InverseT = TypeVar("InverseT", bound="StateOperation")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def operation(directive: str) -> Callable[[OperationT], OperationT]:
    """Make a class an operation: a frozen dataclass, and a directive on Alembic's ``op``."""

    def decorate(cls: OperationT) -> OperationT:
        dataclass(frozen=True, repr=False)(cls)
        cls.directive = directive
        ours = directive in KINDS and cls.__module__ == f"pgopt.operations.{KINDS[directive][0]}"
        if not ours:  # which are registered before they are loaded
            _refuse_taken(directive)
            register(directive, lambda: cls)
        return cls

    return decorate


@dataclass(frozen=True, repr=False)
class Operation(MigrateOperation, ABC):
    """What a migration says."""

    directive: ClassVar[str]

    settings: Mapping[str, Any] | None = field(default=None, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))
        refuse_types(self)
        self.check()

    def check(self) -> None:
        """Refuse arguments that cannot be right, whatever the database."""

    @classmethod
    def from_call(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the operation of what a migration said; wrong arguments are one sentence."""
        try:
            return cls(*args, **kwargs)
        except TypeError:
            refuse_arguments(cls, args, kwargs)
            raise

    @abstractmethod
    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        """Give the steps that carry the operation out on the database as it is now."""

    def notes(self, db: Catalog) -> Sequence[str]:  # noqa: ARG002
        """Give sentences that somebody should read before."""
        return ()

    def make_plan(self, db: Catalog) -> Plan:
        """Plan the operation; that changes nothing."""
        from pgopt.plan.step import Plan

        return Plan(self.title, tuple(self.plan(db)), tuple(self.notes(db)))

    def undoes(self, begun: Begun, back: Collection[str]) -> bool:  # noqa: ARG002
        """Whether this takes an operation back that a revision has begun; `back` is what others of the inverse take back.

        An action may harmlessly be done in any case.
        """
        return True

    def goes_with(self, columns: Collection[str]) -> bool:  # noqa: ARG002
        """Whether there is a reason to do it on the way back, when these columns were made anew."""
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """The names, beside that of the table, of what it makes or takes away."""
        found = (getattr(self, each, None) for each in ("name", "new_name", "column", "partition"))
        return tuple(each for each in found if each is not None)

    @property
    def inverse(self) -> Operation | None:
        """What takes this back, if that can be told."""
        return None

    @property
    def fills(self) -> Fills | None:
        """Which columns it sets in rows that are there, if it does nothing else."""
        return None

    @property
    def lasts(self) -> bool:
        """Whether it brings something about that may be taken back."""
        return False

    @property
    def is_told_by_name(self) -> bool:
        """Whether what is there under its names alone tells that it was done."""
        return False

    @property
    def brings_journal(self) -> bool:
        """Whether it brings about what half-done revisions are written into."""
        return False

    @property
    def makes(self) -> Sequence[str]:
        """The columns that it adds."""
        return ()

    def subject(self, db: Catalog) -> str | TableNamed:  # noqa: ARG002
        """Name what two runners must not work on at once: the table, where there is one."""
        table = getattr(self, "table", None)
        if table is None:
            return "the database"
        return TableNamed(table, getattr(self, "schema", None))

    @property
    def schema_too(self) -> str:
        """The schema, as a call of another directive on the same table says it."""
        schema = getattr(self, "schema", None)
        return f", schema={schema!r}" if schema else ""

    @property
    def title(self) -> str:
        """The operation in a few words, for people."""
        name, table = getattr(self, "name", None), getattr(self, "table", None)
        return (
            f"{self.directive} {name} on {table}"
            if name and table
            else f"{self.directive} {name or table or ''}".rstrip()
        )

    @property
    def text(self) -> str:
        """The operation as a migration says it, but for its settings."""
        return repr(replace(self, settings=None) if self.settings else self)

    @property
    def kin(self) -> str:
        """What operations have in common that are counted, where a revision has several: their batches may be called the same."""
        return self.title

    def __repr__(self) -> str:
        parts = []
        for each in fields(self):
            value = getattr(self, each.name)
            default = each.default_factory() if each.default_factory is not MISSING else each.default
            if each.kw_only:
                if value != default:
                    parts.append(f"{each.name}={value!r}")
            elif value != default or each.default is MISSING:
                parts.append(repr(value) if len(parts) == _position(self, each.name) else f"{each.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


class StateOperation(Operation):
    """Brings something about, and has an inverse."""

    @abstractmethod
    def reverse(self) -> Operation:
        """Give the operation that takes it back, or raise `NotReversible`."""

    def undoes(self, begun: Begun, back: Collection[str]) -> bool:
        """Whether its inverse is what was begun; or if that is nobody's inverse, whether both are about the same thing."""
        inverse = self.inverse
        if begun.text in back:
            return inverse is not None and inverse.text == begun.text
        if self.title == begun.inverse or (inverse is not None and inverse.title == begun.title):
            return True
        directive, _, about = begun.title.partition(" ")
        is_other = inverse is None or directive != self.directive
        # there is much about a table, and one thing of a name; what has no inverse is taken back by something else
        tells = bool(self.names) or begun.inverse is None
        same = tells and self.title.partition(" ")[2] == about
        return begun.lasts and begun.title not in back and is_other and same

    @property
    def lasts(self) -> bool:
        return True

    @property
    def inverse(self) -> Operation | None:
        """What takes this back, if that can be told."""
        try:
            return self.reverse()
        except NotReversible:
            return None


class Action(Operation):
    """Does something that may harmlessly be done again, and has no inverse."""


def other(kind: type[InverseT], of: StateOperation) -> InverseT:
    """Make an operation of another kind with the same arguments: `create_x` of `drop_x`."""
    names = {each.name for each in fields(kind)}
    return kind(**{each.name: getattr(of, each.name) for each in fields(of) if each.name in names})


def _position(of: Operation, name: str) -> int:
    return [each.name for each in fields(of) if not each.kw_only].index(name)


def _plain(value: Any) -> Any:
    """Turn SQLAlchemy expressions to text and lists to tuples, so that equal operations compare equal."""
    if isinstance(value, str) and "\0" in value:
        raise InvalidOperation(f"PostgreSQL cannot hold a zero byte, as there is in {value!r}")
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return tuple(_plain(item) for item in value)
    return text_of(value)


def _refuse_taken(directive: str) -> None:
    whose = (
        "pgopt"
        if directive in KINDS
        else "Alembic"
        if directive not in kinds and hasattr(Operations, directive)
        else None
    )
    if whose:
        raise InvalidOperation(f"@operation({directive!r}): {whose} has an operation of that name: choose another")


@Operations.implementation_for(Operation)
def _carry_out(operations: Operations, operation: Operation) -> None:
    from pgopt.plan.run import carry_out

    carry_out(operations.get_context(), operation)
