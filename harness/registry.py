"""Look up by name what a run is made of. Built-ins and third parties register by entry points, in the same way."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from splitbrain.harness.errors import UsageError

Group = Literal["databases", "workloads", "nemeses", "testbeds"]
_SINGULAR: dict[Group, str] = {"databases": "database", "workloads": "workload", "nemeses": "nemesis", "testbeds": "testbed"}


def names(group: Group) -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_registered(group)))


def look_up(group: Group, name: str) -> type[Any]:
    """The class registered under that name. Raises `UsageError` naming the nearest one, or two that claim the name."""
    registered = _registered(group)
    if name in registered:
        return _load(registered[name])
    if group == "databases" and (name.endswith(".py") or "/" in name):
        return _from_file(Path(name))
    near = difflib.get_close_matches(name, registered, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(registered))}."
    raise UsageError(f"no {_SINGULAR[group]} is called '{name}': {hint}")


def _registered(group: Group) -> dict[str, EntryPoint]:
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
        raise UsageError(f"'{point.name}' needs the Python module '{error.name}': install it.") from None
    if not isinstance(loaded, type):
        raise UsageError(f"the entry point '{point.name}' ({point.value}) is not a class.")
    return loaded


def _from_file(path: Path) -> type[Any]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; a database is a registered name or the path of a Python file.")
    spec = importlib.util.spec_from_file_location(f"splitbrain_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file (its name must end in .py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == spec.name and hasattr(value, "variants")
    ]
    if len(found) != 1:
        raise UsageError(f"{path}: must define exactly one subclass of splitbrain.Database, it defines {len(found)}.")
    return found[0]
