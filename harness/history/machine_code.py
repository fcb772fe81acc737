"""Functions that are written once, as plain Python, and run as machine code where numba is installed (the extra `fast`)."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def kept(function: Callable[..., Any], place: Path | None = None) -> bool:
    """Whether machine code of that function, younger than its source, is kept in the folder `place`, by default beside the
    source: told without loading numba."""
    source = Path(inspect.getfile(function))
    written = source.stat().st_mtime
    files = (place or source.parent / "__pycache__").glob(f"{source.stem}.{function.__qualname__}-*.nbc")
    return any(file.stat().st_mtime > written for file in files)


@cache
def compiled(function: Callable[..., Any], *parts: Callable[..., Any]) -> Callable[..., Any]:
    """That function as machine code: compiled when it is first called, or as it is kept on disk from before. `parts` are the
    functions of its module that it calls, each behind those that it calls itself: they become parts of its code, while plain
    Python goes on with them as they are. Neither may make arrays then."""
    from numba import njit

    code: Callable[..., Any]
    if not parts:
        code = njit(cache=True)(function)
        return code
    # Whoever makes no arrays need not count who has them, at every call.
    uncounted: dict[str, Any] = {"_nrt": False}
    names = dict(function.__globals__)
    for part in parts:
        names[part.__name__] = njit(inline="always", **uncounted)(FunctionType(part.__code__, names))
    code = njit(cache=True, **uncounted)(FunctionType(function.__code__, names))
    return code
