"""Compiling: whether loops that may run as machine code are to be had as that in time.

numba (the extra `fast`) compiles a function when it is first called, and nothing can stop it then. What it compiled is kept
beside the source, so it is the first run on a machine that pays. Hence, where a budget stands, it is asked before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splitbrain.checkers.budget import Budget
from splitbrain.harness.history import machine_code

COMPILING = 10.0
"""Seconds that one function may take to be compiled: three to four of the processor's, and other programs run as well."""
COMPUTED = 5.0
"""The same where a budget counts seconds of the processor."""
NOT_COMPILED = f"plain code was used, for compiling it takes up to {COMPILING:.0f} s the first time"
"""What people are told where time was up and machine code might have helped."""


def in_time(compiled: Any, budget: Budget) -> bool:
    """Whether a function of `machine_code.compiled` can be called within the budget: it is compiled already, was kept from
    before, or there is time enough to compile it."""
    enough = budget.left > (COMPUTED if budget.computed else COMPILING)
    return bool(compiled.signatures) or enough or machine_code.kept(compiled.py_func, Path(compiled._cache.cache_path))
