"""Look up by name what a run is made of. Built-ins and third parties register by entry points, in the same way; a person's own
database, workload, nemesis or checker may also be named by the path of the file that defines it."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from splitbrain.harness.errors import UsageError, hint

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Group = Literal["databases", "workloads", "nemeses", "testbeds", "checkers"]
_SINGULAR: dict[Group, str] = {
    "databases": "database", "workloads": "workload", "nemeses": "nemesis", "testbeds": "testbed", "checkers": "checker",
}
_BASES: dict[Group, tuple[str, str]] = {
    "databases": ("splitbrain.harness.databases.database", "Database"),
    "workloads": ("splitbrain.workloads.workload", "Workload"),
    "nemeses": ("splitbrain.nemeses.nemesis", "Nemesis"),
    "testbeds": ("splitbrain.harness.testbeds.testbed", "Testbed"),
    "checkers": ("splitbrain.checkers.verdict", "Checker"),
}
"""What a person's own class of each group is a subclass of; imported where one is looked for, since these rooms lie above."""


def names(group: Group) -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_registered(group)))


def look_up(group: Group, name: str) -> type[Any]:
    """The class registered under that name. Raises `UsageError` naming the nearest one, or two that claim the name."""
    registered = _registered(group)
    if name in registered:
        return _load(registered[name])
    if is_path(name):
        return _from_file(group, Path(name))
    if (group, name) == ("nemeses", "random"):
        raise UsageError("no nemesis is called 'random', which is a pace: --nemesis halves+kill --pace random mixes these.")
    raise UsageError(f"no {_SINGULAR[group]} is called '{name}': {hint(name, sorted(registered))}")


def nemeses(name: str) -> tuple[tuple[str, type[Any], str], ...]:
    """What the name of a nemesis means, `halves`, `kill:primary`, `halves+kill`, a file: of each part the name by which it is
    looked up, its class, and the scenario that it is held to (empty: its own, in turn)."""
    if Path(name).is_file():
        return ((name, look_up("nemeses", name), ""),)
    found = []
    for one in name.split("+"):
        named, _, scenario = ("", "", "") if Path(one).is_file() else one.partition(":")
        found.append((named or one, look_up("nemeses", named or one), scenario))
    return tuple(found)


def is_path(name: str) -> bool:
    """Whether a name is the path of a person's own file."""
    return name.endswith(".py") or "/" in name


@cache
def _registered(group: Group) -> dict[str, EntryPoint]:
    """What is installed, asked once a process: the answer reads the metadata of every package."""
    from importlib.metadata import entry_points

    registered: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"splitbrain.{group}"):
        other = registered.setdefault(point.name, point)
        if other.value != point.value:
            raise UsageError(
                f"two packages register the {_SINGULAR[group]} '{point.name}' ({other.value} and {point.value}): "
                "uninstall one of them."
            )
    return registered


def _load(point: EntryPoint) -> type[Any]:
    try:
        loaded = point.load()
    except ModuleNotFoundError as error:
        raise UsageError(f"'{point.name}' needs the Python module '{error.name}': install it.") from error
    if not isinstance(loaded, type):
        raise UsageError(f"the entry point '{point.name}' ({point.value}) is not a class.")
    return loaded


def _from_file(group: Group, path: Path) -> type[Any]:
    """The one class of that group that a file defines. Its other classes may be of other groups: a database and its own
    workload may lie in one file."""
    kind = _SINGULAR[group]
    if path.is_dir():
        raise UsageError(f"{path}: a folder; a {kind} is a registered name or the path of a Python file.")
    if not path.is_file():
        raise UsageError(f"{path}: no such file; a {kind} is a registered name or the path of a Python file.")
    if path.suffix != ".py":
        raise UsageError(f"{path}: not a Python file (its name must end in .py).")
    status = path.stat()
    names = _load_file(path.resolve(), status.st_mtime_ns, status.st_size)
    module, name = _BASES[group]
    base = getattr(import_module(module), name)
    found = [value for value in names if base in value.__mro__]
    if len(found) != 1:
        raise UsageError(f"{path}: must define exactly one subclass of splitbrain.{name}, it defines {len(found)}.")
    return found[0]


@cache
def _load_file(path: Path, changed_ns: int, size: int) -> tuple[type[Any], ...]:
    """The classes that a file defines; loaded once for as long as it does not change, so that a class is itself."""
    name = f"splitbrain_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # Its name ends in .py.
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path}{_line(error, path)}: cannot be loaded: {type(error).__name__}: {error}") from error
    return tuple(value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name)


def _line(error: Exception, path: Path) -> str:
    """The line of that file in which an error arose, `:12`."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f":{lines[-1]}" if lines else ""
