"""What an operation is: a frozen dataclass that Alembic knows, with an inverse and a plan."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from alembic.operations import MigrateOperation, Operations

from pgopt.errors import InvalidOperation
from pgopt.operations.expressions import text_of
from pgopt.server.objects import TableNamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgopt.plan.step import AnyStep, Plan
    from pgopt.server.catalog import Catalog

OperationT = TypeVar("OperationT", bound="type[Operation]")
InverseT = TypeVar("InverseT", bound="StateOperation")

registry: dict[str, type[Operation]] = {}
"""All operations by the name of their directive."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def operation(directive: str) -> Callable[[OperationT], OperationT]:
    """Make a class an operation: a frozen dataclass, and a directive on Alembic's ``op``."""

    def decorate(cls: OperationT) -> OperationT:
        dataclass(frozen=True, repr=False)(cls)
        cls.directive = directive
        registry[directive] = cls
        _register(cls, directive)
        return cls

    return decorate


@dataclass(frozen=True, repr=False)
class Operation(MigrateOperation):
    """What a migration says."""

    directive: ClassVar[str]

    settings: Mapping[str, Any] | None = field(default=None, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))
        self.check()

    def check(self) -> None:
        """Refuse arguments that cannot be right, whatever the database."""

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

    def subject(self, db: Catalog) -> str | TableNamed:  # noqa: ARG002
        """Name what two runners must not work on at once: the table, where there is one."""
        table = getattr(self, "table", None)
        if table is None:
            return "the database"
        return TableNamed(table, getattr(self, "schema", None))

    @property
    def title(self) -> str:
        """The operation in a few words, for people."""
        name, table = getattr(self, "name", None), getattr(self, "table", None)
        return (
            f"{self.directive} {name} on {table}"
            if name and table
            else f"{self.directive} {name or table or ''}".rstrip()
        )

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
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return tuple(_plain(item) for item in value)
    return text_of(value)


def _register(kind: type[Operation], directive: str) -> None:
    # Alembic copies the parameters as they stand in the code of this function; op.pyi has each operation's own
    def invoke(cls: type[Operation], operations: Operations, *args: Any, **kwargs: Any) -> Any:
        try:
            said = cls(*args, **kwargs)
        except TypeError:
            _refuse_arguments(cls, args, kwargs)
            raise
        return operations.invoke(said)

    invoke.__name__ = directive
    invoke.__doc__ = kind.__doc__
    setattr(kind, directive, classmethod(invoke))
    Operations.register_operation(directive)(kind)
    Operations.implementation_for(kind)(_carry_out)


def _refuse_arguments(kind: type[Operation], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Say which argument is missing or unknown, and what the directive takes: Python's own words name a dataclass."""
    takes = signature(kind)
    try:
        takes.bind(*args, **kwargs)
    except TypeError as error:
        plain = [each.replace(annotation=Parameter.empty) for each in takes.parameters.values()]
        raise InvalidOperation(f"{kind.directive}: {error}: say op.{kind.directive}{Signature(plain)}") from None


def _carry_out(operations: Operations, operation: Operation) -> None:
    from pgopt.plan.run import carry_out

    carry_out(operations.get_context(), operation)
