"""The examples over which every promise is tested: one module a family, found by themselves."""

from __future__ import annotations

import importlib
import pkgutil

from tests.contract.examples.base import Example


def _all() -> list[Example]:
    found: list[Example] = []
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base":
            found += importlib.import_module(f"{__name__}.{module.name}").EXAMPLES
    return found


EXAMPLES = _all()

__all__ = ["EXAMPLES", "Example"]
