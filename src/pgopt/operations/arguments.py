"""What a migration says of an operation: refused in one sentence where it cannot be meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation

if TYPE_CHECKING:
    from pgopt.operations.base import Operation


def refuse_arguments(kind: type[Operation], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Say which argument is missing or unknown, and what the directive takes: Python's own words name a dataclass."""
    takes = signature(kind)
    try:
        takes.bind(*args, **kwargs)
    except TypeError as error:
        plain = [each.replace(annotation=Parameter.empty) for each in takes.parameters.values()]
        raise InvalidOperation(f"{kind.directive}: {error}: say op.{kind.directive}{Signature(plain)}") from None


def refuse_types(operation: Operation) -> None:
    """Refuse a value that is not of the kind that its field says, where that is a plain one."""
    for each in fields(operation):
        said, value = str(each.type), getattr(operation, each.name)
        if value is None and said.endswith("| None"):
            continue
        kind = said.removesuffix(" | None")
        takes, word = _KINDS.get(kind.partition("[")[0] if "|" not in kind else "", (object, ""))
        if not isinstance(value, takes) or (takes is int and isinstance(value, bool)):
            raise InvalidOperation(f"{operation.directive}: {each.name}={value!r} is {word}")
        if takes is Sequence:
            _refuse_elements(operation, each.name, value, texts=kind == "Sequence[str]")


def _refuse_elements(operation: Operation, name: str, value: Sequence[Any], *, texts: bool) -> None:
    if isinstance(value, str | bytes):
        raise InvalidOperation(f"{operation.directive}: {name}={value!r} is one text: write a list of them")
    for each in value:
        if texts and not isinstance(each, str):
            raise InvalidOperation(f"{operation.directive}: {name} has {each!r}, which is no text")


_KINDS: Mapping[str, tuple[Any, str]] = {
    "str": (str, "no text"),
    "bool": (bool, "neither True nor False"),
    "int": (int, "no whole number"),
    "Mapping": (Mapping, "no mapping: write {'name': value}"),
    "Sequence": (Sequence, "no list"),
}
