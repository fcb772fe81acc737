"""What the checkers of structures share: the functions of a history, and values as codes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.values import NIL, SCALAR, canonical

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def check_functions(history: History, checker: str, functions: Sequence[str]) -> None:
    """Raise `UsageError` where a history has another function."""
    unknown = sorted({history.fs[code] for code in np.unique(history.f).tolist()} - set(functions))
    if unknown:
        raise UsageError(
            f"the {checker} checker has no operation {unknown[0]!r}, only {', '.join(functions)}: choose another checker"
        )


def rows_of(history: History, f: str) -> Flags:
    """Which rows are calls of that function."""
    found: Flags = history.f == (history.fs.index(f) if f in history.fs else -2)
    return found


def mismatched(history: History) -> Flags:
    """Which rows were decided against by the database."""
    found: Flags = history.error == (history.errors.index("mismatch") if "mismatch" in history.errors else -2)
    return found


def codes(history: History, rows: Ints, names: dict[Hashable, int]) -> Ints:
    """Of each row the code of its key with its value; `names` keeps them between calls. -1 where the value is nil."""
    values = history.values
    key = history.key[rows].astype(np.int64)
    plain = values.kind[rows] == SCALAR
    first = values.first[rows]
    if plain.all():
        pairs = zip(key.tolist(), first.tolist(), strict=True)
        found = [-1 if value == NIL else names.setdefault((one, value), len(names)) for one, value in pairs]
        return np.array(found, np.int64)
    told = [(int(one), values[int(row)]) for one, row in zip(key, rows, strict=True)]
    return np.array([code_of(one, value, names) for one, value in told], np.int64)


def code_of(key: int, value: Any, names: dict[Hashable, int]) -> int:
    """The code of one value of a key, -1 for nil."""
    if value is None:
        return -1
    return names.setdefault((key, value if type(value) is int else canonical(value)), len(names))


def latest_before(moments: Ints, values: Ints, at: Ints, none: int) -> Ints:
    """The greatest of `values` whose moment is before each of `at`, `none` where there is none."""
    order = np.argsort(moments, kind="stable")
    greatest = np.append(none, np.maximum.accumulate(values[order])) if len(order) else np.array([none])
    found: Ints = greatest[np.searchsorted(moments[order], at, side="left")]
    return found
