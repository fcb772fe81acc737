"""The case studies that come with splitbrain: workloads, each with a suite that runs it as CP and as AP."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from splitbrain.harness import registry
from splitbrain.harness.errors import UsageError, hint


def summaries() -> dict[str, str]:
    """Every case study's name, and what it is about."""
    return {name: registry.look_up("workloads", name).summary for name in names()}


def file(name: str) -> Path:
    """The suite of a case study. Raises `UsageError` naming the nearest one where there is none."""
    if name not in names():
        raise UsageError(f"no case study is called '{name}': {hint(name, names())}")
    return _FOLDER / f"{name}.toml"


def names() -> list[str]:
    """The names of all case studies, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


_FOLDER = Path(str(files("splitbrain.workloads.cases")))
