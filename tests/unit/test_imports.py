"""The rooms stand upon each other: none knows of one above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pgopt

ROOT = Path(pgopt.__file__).parent
# what stands above: see ARCHITECTURE.md
ORDER = ["server", "plan", "copy", "denormal", "operations"]
TOP = ["cli", "env", "plugin"]
BELOW = {"errors", "directives"}
ALLOWED = {
    **{room: {*BELOW, *ORDER[: at + 1]} for at, room in enumerate(ORDER)},
    "monitoring": {*BELOW, "server", "monitoring"},
}
ALLOWED["operations"] |= {"monitoring", "schema"}


def rooms_imported(path: Path) -> set[str]:
    """The rooms that a module imports from, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module} if node.module != "pgopt" else {f"pgopt.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
    return {name.split(".")[1] for name in names if name.startswith("pgopt.")}


def test_imports_run_one_way() -> None:
    upwards = {
        f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"
        for room, allowed in ALLOWED.items()
        for path in (ROOT / room).rglob("*.py")
        if (wrong := rooms_imported(path) - allowed)
    }
    assert upwards == set()


def test_no_room_knows_the_top() -> None:
    assert {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0].removesuffix(".py") not in TOP and rooms_imported(path) & set(TOP)
    } == set()
