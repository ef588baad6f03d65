"""Tells Alembic the directives: the names alone, since every `alembic` command loads this. A class is loaded when it is said."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations

from pgopt.operations.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgopt.operations.base import Operation


kinds: dict[str, Callable[[], type[Operation]]] = {}
"""What loads the class of each directive that is not Alembic's own."""


def register(directive: str, kind: Callable[[], type[Operation]]) -> None:
    """Put a directive on Alembic's ``op``; what it stands for is asked for when it is called."""

    # Alembic copies the parameters as they stand in the code of this function; op.pyi has each operation's own
    def invoke(cls: type, operations: Operations, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return operations.invoke(kind().from_call(*args, **kwargs))

    invoke.__name__ = directive
    invoke.__doc__ = f"Do what the operation of this name says: help(pgopt.directives.kind_of({directive!r}))."
    kinds[directive] = kind
    Operations.register_operation(directive)(type(directive, (), {directive: classmethod(invoke)}))


def kind_of(directive: str) -> type[Operation]:
    """Give the class of an operation by its directive."""
    return kinds[directive]()


def _load(directive: str) -> type[Operation]:
    module, name = KINDS[directive]
    kind: type[Operation] = getattr(import_module(f"pgopt.operations.{module}"), name)
    return kind


for each in KINDS:
    register(each, partial(_load, each))
