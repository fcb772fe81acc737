"""Functions that are written once, as plain Python, and run as machine code where numba is installed (the extra `fast`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """That function as machine code: compiled when it is first called, or as it is kept on disk from before."""
    from numba import njit

    made: Callable[..., Any] = njit(cache=True)(function)
    return made
