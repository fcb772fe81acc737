"""Whether there is time to compile."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from splitbrain.checkers import compiling
from splitbrain.checkers.budget import Budget
from splitbrain.harness.history import machine_code


def _wrapped(file: Path) -> Any:
    """The function `double` of that file as a program that has just begun has it."""
    numba = pytest.importorskip("numba")
    spec = importlib.util.spec_from_file_location("doubling", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return numba.njit(cache=True)(module.double)


def test_what_is_not_kept_is_compiled_only_where_there_is_time(tmp_path: Path) -> None:
    file = tmp_path / "doubling.py"
    file.write_text("def double(number):\n    return 2 * number\n")
    short, long = Budget.of(compiling.COMPILING / 2), Budget.of(10 * compiling.COMPILING)
    double = _wrapped(file)
    assert not compiling.in_time(double, short) and not machine_code.kept(double.py_func)
    assert compiling.in_time(double, long)
    assert double(4) == 8
    assert compiling.in_time(double, short), "it is machine code now"
    assert compiling.in_time(_wrapped(file), short), "it is kept"
    assert machine_code.kept(double.py_func) or "NUMBA_CACHE_DIR" in os.environ
    written = max(kept.stat().st_mtime for kept in tmp_path.rglob("*.nbc"))
    os.utime(file, (written + 60, written + 60))
    assert not machine_code.kept(double.py_func)
    assert not compiling.in_time(_wrapped(file), short), "the source has changed since"


def test_less_is_enough_where_seconds_of_the_processor_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "doubling.py"
    file.write_text("def double(number):\n    return 2 * number\n")
    seconds = (compiling.COMPUTED + compiling.COMPILING) / 2
    assert compiling.in_time(_wrapped(file), Budget.of(seconds, computed=True))
    assert not compiling.in_time(_wrapped(file), Budget.of(seconds))
