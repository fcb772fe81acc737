"""The shape of the house: a room imports only from floors below, and no module outgrows its reader."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONG, ROOT

FLOORS = (
    ("harness.history", "harness.errors", "harness.files", "harness.heartbeat", "harness.registry", "harness.settings",
     "harness.plan", "harness.options", "harness.programs"),
    ("checkers",),
    ("harness.testbeds", "harness.servers"),
    ("harness.load", "harness.databases", "nemeses", "workloads"),
    ("reports",),
    ("harness",),
)
"""What lies on each floor, the lowest first; the longest name that fits a module tells its floor. The registry finds classes
of every floor by their names, and imports none."""

ROOMS = ("harness", "checkers", "nemeses", "workloads", "reports")
LONGEST = 600
"""Lines of a module; a longer one says in its docstring why it is whole."""


def modules() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(module: str) -> int:
    found = [
        (len(room), number)
        for number, rooms in enumerate(FLOORS) for room in rooms
        if module == room or module.startswith(f"{room}.")
    ]
    return max(found)[1]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """What a module imports of ours when it is loaded or called, with the line; what only type checkers read is left out."""
    tree = ast.parse(path.read_text())
    typed = {
        id(inner) for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("splitbrain."):
            base = (node.module or "").removeprefix("splitbrain.")
            for alias in node.names:
                inner = ROOT / Path(*base.split("."), alias.name)
                yield node.lineno, f"{base}.{alias.name}" if inner.with_suffix(".py").exists() or inner.is_dir() else base
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.removeprefix("splitbrain.")) for alias in node.names
                        if alias.name.startswith("splitbrain."))


def test_no_import_points_up_a_floor() -> None:
    upward = [
        f"{path.relative_to(ROOT)}:{line}: {other}"
        for path in modules() for line, other in imported(path)
        if floor(other) > floor(name(path))
    ]
    assert upward == []


def test_nothing_imports_by_the_name_of_a_room() -> None:
    """Two names for one module would be two modules."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (*modules(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOMS and not node.level)
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] in ROOMS for alias in node.names))
    ]
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in modules() if len(path.read_text().splitlines()) > LONGEST], ids=name)
def test_a_long_module_says_why_it_is_whole(path: Path) -> None:
    assert "one file because" in " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())


def test_files_that_are_taken_first_are_there() -> None:
    """One that was renamed would be taken last, and the whole suite wait for it."""
    assert [name for name in LONG if not (ROOT / "tests" / name).is_file()] == []
