"""What the checkers of structures share: the functions of a history, and values as codes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.values import NIL, SCALAR, Tagged, canonical

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def check_functions(history: History, checker: str, functions: Sequence[str]) -> None:
    """Raise `UsageError` where a history has another function."""
    unknown = sorted({history.fs[code] for code in np.flatnonzero(np.bincount(history.f)).tolist()} - set(functions))
    if unknown:
        raise UsageError(
            f"the {checker} checker has no operation {unknown[0]!r}, only {', '.join(functions)}: choose another checker"
        )


def keys_of(history: History) -> int:
    """How many keys it has."""
    return int(np.count_nonzero(np.bincount(history.key + 1)))


def rows_of(history: History, f: str) -> Flags:
    """Which rows are calls of that function."""
    found: Flags = history.f == (history.fs.index(f) if f in history.fs else -2)
    return found


def mismatched(history: History) -> Flags:
    """Which rows were decided against by the database."""
    found: Flags = history.error == (history.errors.index("mismatch") if "mismatch" in history.errors else -2)
    return found


class Numbers:
    """Values as integers: an integer is itself, and others are given numbers that no integer of a history is likely to be. Nil
    is `NIL`."""

    def __init__(self) -> None:
        self._others: dict[Hashable, int] = {}

    def of_rows(self, history: History, rows: Ints) -> Ints:
        """Those of the values of these rows."""
        values = history.values
        if (values.kind[rows] == SCALAR).all():
            return values.first[rows]
        return self.of([values[row] for row in rows.tolist()])

    def of(self, values: Sequence[Any]) -> Ints:
        """Those of these values."""
        if set(map(type, values)) <= {int} and len(values):
            return np.array(values, np.int64)
        found = [value if type(value) is int else NIL if value is None else self._number(value) for value in values]
        return np.array(found, np.int64)

    def _number(self, value: Any) -> int:
        return self._others.setdefault(canonical(value), NIL + 1 + len(self._others))


def coded(*parts: tuple[NDArray[np.int32], Ints]) -> tuple[list[Ints], int]:
    """Parts of (keys, numbers) as codes from 0, the same for the same pair, -1 where the number is `NIL`; and how many there
    are."""
    keys, numbers = (np.concatenate([part[column] for part in parts]) for column in (0, 1))
    real = np.flatnonzero(numbers != NIL)
    keys, numbers = keys[real].astype(np.int64), numbers[real]
    order = np.lexsort((numbers, keys))
    by_key, by_number = keys[order], numbers[order]
    code = np.cumsum(np.append(False, (by_key[1:] != by_key[:-1]) | (by_number[1:] != by_number[:-1]))[: len(order)])
    found = np.full(sum(len(part[0]) for part in parts), -1)
    found[real[order]] = code
    return np.split(found, np.cumsum([len(part[0]) for part in parts])[:-1]), int(code[-1]) + 1 if len(code) else 0


def grouped(keys: NDArray[Any]) -> Iterator[tuple[int, Ints]]:
    """Every key with the places that it has, ascending."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    for places in np.split(order, ends) if len(order) else ():
        yield int(keys[places[0]]), places


def latest_before(moments: Ints, values: Ints, at: Ints, none: int) -> Ints:
    """The greatest of `values` whose moment is before each of `at`, `none` where there is none."""
    order = np.argsort(moments, kind="stable")
    greatest = np.append(none, np.maximum.accumulate(values[order])) if len(order) else np.array([none])
    found: Ints = greatest[np.searchsorted(moments[order], at, side="left")]
    return found


def shown_elements(history: History, reads: Ints, numbers: Numbers) -> tuple[Ints, Ints]:
    """Every element that these reads returned, as a number, and the row of its read. Raises `UsageError` where one returned no
    list."""
    told: list[Any] = []
    sizes: list[int] = []
    for row in reads.tolist():
        value = history.values[row]
        if isinstance(value, Tagged):
            value = value.content
        if value is not None and not isinstance(value, (tuple, list, set, frozenset)):
            raise UsageError(f"a read of elements is needed, not one of {value!r}: choose another checker")
        told += value or ()
        sizes.append(len(value or ()))
    return numbers.of(told), np.repeat(reads, np.array(sizes, np.int64)) if sizes else reads
